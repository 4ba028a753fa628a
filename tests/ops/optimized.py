"""Programs compiled as they are for everybody, where `conftest.py` leaves XLA's optimisations out to save time."""

import os
from typing import Any

import jax

AS_FOR_EVERYBODY = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):  # a version of JAX that knows it
    AS_FOR_EVERYBODY["xla_cpu_use_fusion_emitters"] = True


def optimized(function: Any, **keywords: Any) -> Any:
    """`jax.jit` with all of XLA's optimisations."""
    return jax.jit(function, compiler_options=AS_FOR_EVERYBODY, **keywords)
