"""Data and settings of a tiny run."""

from tests.training.conftest import _shared_programs, tiny_config, tiny_sets

__all__ = ["_shared_programs", "tiny_config", "tiny_sets"]
