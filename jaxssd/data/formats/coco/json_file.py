"""Content of a COCO JSON file: its three lists, or an error that names what it is instead."""

import json
import zlib
from typing import Any

from jaxssd.data.formats.coco.other_tools import EXPECTED, explain_foreign, explain_lines
from jaxssd.data.formats.coco.values import four_numbers

_KEPT = {"images", "annotations", "categories", "id", "file_name", "width", "height", "name", "image_id"}
_KEPT |= {"category_id", "bbox", "iscrowd", "ignore", "score", "supercategory", "coco_url"}
_KEPT |= {"not_exhaustive_category_ids"}
"""Keys kept while parsing. COCO's segmentations are nine tenths of its files."""

_MAX_UNPACKED = 4_000_000_000
"""Largest unpacked size in bytes; LVIS has 1.2 billion."""


def unpack(content: bytes) -> bytes:
    """Unpack a gzip file; other content is returned as it is.

    Raises:
        ValueError: if it is a zip archive, or a gzip file that is damaged or too large.
    """
    if content[:2] == b"PK":
        raise ValueError("is a zip archive: unpack it, and name what is in it")
    if content[:2] != b"\x1f\x8b":
        return content
    reader = zlib.decompressobj(wbits=31)
    try:
        unpacked = reader.decompress(content, _MAX_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"is a damaged gzip file: {error}") from error
    if reader.unconsumed_tail:
        raise ValueError(f"has more than {_MAX_UNPACKED:,} bytes when unpacked")
    if not reader.eof:
        raise ValueError("is a gzip file that is cut short")
    return unpacked


def parse_lists(content: bytes) -> dict[str, list]:
    """Parse the lists images, annotations and categories. Of the objects in them, only used keys are kept.

    Raises:
        ValueError: if the content is anything else. The message says what it looks like.
    """
    try:
        text = content.decode("utf-8-sig")
        data = json.loads(text, object_hook=_keep_known)
    except UnicodeDecodeError as error:
        wide = ", but UTF-16: save it as UTF-8" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else f": {error}"
        raise ValueError(f"is not UTF-8{wide}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply for a file of instances") from error
    except ValueError as error:  # also an integer of thousands of digits
        raise ValueError(explain_lines(text) or f"is not JSON: {error}; the file may be cut short") from error
    if isinstance(data, list) and data and isinstance(data[0], dict) and "score" in data[0]:
        raise ValueError(f"is a list of results, as a detector writes them; {EXPECTED}")
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(data, dict) or not isinstance(data.get(key), list)]
    if missing and (foreign := explain_foreign(json.loads(text))):  # parsed again, with all keys
        raise ValueError(foreign)
    if not isinstance(data, dict):
        raise ValueError(f"holds a {type(data).__name__} instead of an object; {EXPECTED}")
    if missing:
        raise ValueError(f"has no list {' and no list '.join(missing)}; {EXPECTED}")
    for key in ("images", "categories"):
        if not data[key]:
            raise ValueError(f"has an empty list {key}")
    return {key: data[key] for key in keys}


def _keep_known(entry: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in entry.items() if key in _KEPT}
    if "segmentation" in entry and not any(four_numbers(entry.get("bbox")) or ()):
        known["segmentation"] = entry["segmentation"]
    elif "counts" in entry and "size" in entry:
        return entry  # a mask, which is parsed before the annotation that holds it
    return known
