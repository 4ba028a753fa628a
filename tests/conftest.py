"""Types and shapes are checked in every test; figures need no screen; hypothesis says how to repeat a case."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("jaxssd", "beartype.beartype")  # before the first import of jaxssd

hypothesis.settings.register_profile("jaxssd", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.load_profile("jaxssd")
