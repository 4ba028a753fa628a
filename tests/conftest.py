"""Types and shapes are checked in every test; figures need no screen; hypothesis says how to repeat a case."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"
# Most of the time goes into compiling the same programs again: another worker, a process that a test starts and the
# next run read them from a folder. Writing a small one takes a twentieth of its compilation, reading it a half.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Compiling takes a third less time without the optimisation of each kernel, which changes no more than a last bit.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# And a third of what is left without XLA's newer generator of CPU code, and a fifth of that if a program is not split
# into parts that are compiled at once. XLA stops at a flag that it does not know, so they are named only to versions
# that have been seen to know them.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + version("jax").startswith("0.10.") * (
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

from tests import checked  # noqa: F401  # before the hook asks for it

OPTIMIZED = {"models"}
"""Folders whose tests are about numbers: there programs are compiled as they are for everybody.

In `ops`, where most of the time goes into programs to compare one function with, `optimized` says of which ones.
"""

NOT_OPTIMIZED = {
    *("test_dense_heads", "test_detector", "test_heads", "test_pretrained", "test_receptive_field"),
    *("test_download", "test_published"),
    *("test_feature_pyramid", "test_retinanet_head", "test_ssd300_head", "test_ssd300_vgg", "test_weight_files"),
}
"""Files in those folders that compare many programs with one another, or look at shapes and at where weights go."""

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("jaxssd", "tests.checked.check")  # before the first import of jaxssd

gc.set_threshold(50_000)  # JAX makes so many objects while tracing that looking for garbage takes a tenth of the time

hypothesis.settings.register_profile("jaxssd", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.load_profile("jaxssd")


def pytest_collection_finish():
    """Look for garbage rarely, and not among what is imported: that takes a tenth of the time of tracing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


@pytest.hookimpl(tryfirst=True)  # before fixtures of any scope
def pytest_runtest_setup(item):
    """Compile as the folder's tests want it; what was compiled the other way is forgotten."""
    disabled = item.path.parent.name not in OPTIMIZED or item.path.stem in NOT_OPTIMIZED
    if jax.config.read("jax_disable_most_optimizations") != disabled:
        jax.config.update("jax_disable_most_optimizations", disabled)
        jax.clear_caches()


@pytest.fixture(scope="module")
def shared_programs(request):
    """Runs with equal settings share one traced program, see `tests.sharing`."""
    from tests.sharing import share

    with pytest.MonkeyPatch.context() as patch:
        share(patch, request.module)
        yield


if "xla_cpu_use_fusion_emitters" in os.environ["XLA_FLAGS"]:
    from jax._src import compiler  # where this version has the options of every compilation

    from tests import lowering  # noqa: F401  # makes it cheaper

    def _options_as_configured(*args, get=compiler.get_compile_options, **kwargs):
        """JAX's options, with the newer generator where programs are compiled as for everybody."""
        if not jax.config.read("jax_disable_most_optimizations"):
            overrides = kwargs.get("env_options_overrides") or {}
            kwargs["env_options_overrides"] = {"xla_cpu_use_fusion_emitters": True} | overrides
        return get(*args, **kwargs)

    compiler.get_compile_options = _options_as_configured
