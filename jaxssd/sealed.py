"""JSON with a digest of itself: what was written is told from what a disk or an editor has made of it."""

import hashlib
import json
from pathlib import Path
from typing import Any


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with one more entry, `sha256`.

    Example:
        >>> sealed({"train": "ab"})
        {'train': 'ab', 'sha256': '6fde24581bb097fb'}
    """
    return {**record, "sha256": _seal(record)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read the JSON of what `sealed` made, or, without its entry, of an older version.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: naming the file, if it is not what was written.
    """
    try:
        record = json.loads(path.read_bytes())
        seal = record.pop("sha256", None)
        if seal is not None and seal != _seal(record):
            raise ValueError("its digest is another")
        return dict(record)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
