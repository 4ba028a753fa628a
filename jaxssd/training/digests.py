"""Digests of arrays: what a checkpoint holds is compared with what was saved."""

import hashlib
from typing import Any

import jax
import numpy as np


def array_digests(tree: Any) -> dict[str, str]:
    """Take the digest of each array of a tree.

    Args:
        tree: of arrays of which this process has all, as of a replicated state.

    Returns:
        The place in the tree -> dtype, shape and 64 bits of SHA-256 of the content.

    Example:
        >>> array_digests({"bias": np.zeros(3, np.float32)})
        {"['bias']": 'float32[3] 15ec7bf0b50732b4'}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{_form(leaf)} {_digest(leaf)}" for path, leaf in leaves}


def array_forms(tree: Any) -> dict[str, str]:
    """Place -> dtype and shape of each array, or of each shape of `jax.eval_shape`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _form(leaf) for path, leaf in leaves}


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")


def _digest(leaf: Any) -> str:
    here = leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf
    content = np.ascontiguousarray(here).reshape(-1).view(np.uint8)
    return hashlib.sha256(content.data).hexdigest()[:16]
