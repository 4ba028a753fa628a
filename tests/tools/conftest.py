"""Data and settings of a tiny run."""

from tests.training.conftest import tiny_config, tiny_sets

__all__ = ["tiny_config", "tiny_sets"]
