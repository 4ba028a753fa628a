"""JSON files with a digest of their content, which detects damage and edits."""

import hashlib
import json
from pathlib import Path
from typing import Any


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Record with its digest as one more entry, `sha256`.

    Example:
        >>> sealed({"train": "ab"})
        {'train': 'ab', 'sha256': '6fde24581bb097fb'}
    """
    return {**record, "sha256": _seal(record)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON file of a `sealed` record; files of older versions have no digest.

    Args:
        path: path of the file.

    Returns:
        Record without its digest.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged; it names the file.
    """
    try:
        record = json.loads(path.read_bytes())
        seal = record.pop("sha256", None)
        if seal is not None and seal != _seal(record):
            raise ValueError("its digest does not match its content")
        return dict(record)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
