"""Digests of arrays: what a checkpoint holds is compared with what was saved."""

import hashlib
import json
from pathlib import Path
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


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record for JSON, with a digest of itself."""
    return {"content": record, "sha256": _seal(record)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read the JSON of what `sealed` made.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the file, if it is not what was written.
    """
    try:
        record = json.loads(path.read_bytes())
        if record["sha256"] != _seal(record["content"]):
            raise ValueError("its digest is another")
        return dict(record["content"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _seal(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")


def _digest(leaf: Any) -> str:
    here = leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf
    content = np.ascontiguousarray(here).reshape(-1).view(np.uint8)
    return hashlib.sha256(content.data).hexdigest()[:16]
