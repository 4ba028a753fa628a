"""Types and shapes are checked in every test; figures need no screen; hypothesis says how to repeat a case."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"
# Most of the time goes into compiling the same training step again, in workers and in processes that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Compiling takes a third less time without the optimisation of each kernel, which changes no more than a last bit.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

OPTIMIZED = {"metrics", "models", "ops"}
"""Folders whose tests are about numbers: there programs are compiled as they are for everybody."""

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("jaxssd", "beartype.beartype")  # before the first import of jaxssd

hypothesis.settings.register_profile("jaxssd", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.load_profile("jaxssd")


@pytest.hookimpl(tryfirst=True)  # before fixtures of any scope
def pytest_runtest_setup(item):
    """Compile as the folder's tests want it; what was compiled the other way is forgotten."""
    disabled = item.path.parent.name not in OPTIMIZED
    if jax.config.read("jax_disable_most_optimizations") != disabled:
        jax.config.update("jax_disable_most_optimizations", disabled)
        jax.clear_caches()
