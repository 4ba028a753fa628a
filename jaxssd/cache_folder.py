"""Folder of everything that jaxssd keeps for later runs: decoded images and downloaded weights."""

import os
from pathlib import Path

ADVICE = "name a folder that can be written with the environment variable JAXSSD_CACHE"
"""Advice where the folder cannot be written."""


def default_cache_dir() -> Path:
    """Folder of the cache: `$JAXSSD_CACHE`, else `$XDG_CACHE_HOME/jaxssd`, else `~/.cache/jaxssd`.

    Raises:
        OSError: if none of them is set and there is no home folder.
    """
    if chosen := os.environ.get("JAXSSD_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "jaxssd"
    try:
        return Path.home() / ".cache" / "jaxssd"
    except RuntimeError as error:
        raise OSError(f"no home folder to keep decoded images and weights in: {ADVICE}") from error
