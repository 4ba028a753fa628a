"""Weights by name: found in a cache, or downloaded; every file of the table is checked against its SHA-256."""

import errno
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from jaxssd.atomic import replacing
from jaxssd.cache_folder import ADVICE, default_cache_dir
from jaxssd.models.published import PUBLISHED, Published

HUB = "hf:"
"""Start of the name of a repository on the Hugging Face hub."""

HUB_FILE = "model.safetensors"
TIMEOUT = 30.0  # seconds without an answer
BLOCK = 1 << 20
LARGEST = 1 << 30  # bytes; the largest file of the table, VGG16, has half of that


def is_name(weights: str) -> bool:
    """True for a published name or `hf:REPO`; other values of `--pretrained` are paths."""
    return weights in PUBLISHED or weights.startswith(HUB)


def find_weights(name: str) -> Path:
    """Find the file of some weights; download it if it is in no cache.

    Published weights are searched in torch's cache (`$TORCH_HOME/hub/checkpoints`, by default in `~/.cache/torch`) and
    in the folder `weights` of our own (`$JAXSSD_CACHE`, by default `~/.cache/jaxssd`), into which they are downloaded.
    The hub's client has a cache of its own, which comes first as well; it stays offline where `HF_HUB_OFFLINE` is set.

    Args:
        name: name in `PUBLISHED`; `hf:OWNER/REPO` or `hf:OWNER/REPO@REVISION`, for the file `model.safetensors` of a
            repository on the Hugging Face hub; or a path.

    Returns:
        Path of the file; a path is returned as it is.

    Raises:
        FileNotFoundError: if there is no such path or repository.
        ConnectionError: if there is no network, or the connection breaks; the message has the file and the folder to
            put it into.
        ValueError: if the SHA-256 is another one, or `hf:` needs a package that is not installed.
        OSError: if the file cannot be written, or the disk has too little space.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     find_weights(file.name) == Path(file.name)
        True
    """
    if name.startswith(HUB):
        return _from_hub(name)
    if published := PUBLISHED.get(name):
        for folder in (torch_cache(), weights_folder()):
            if (path := folder / published.file).is_file():
                require_hash(path, published)
                return path
        return download(published, weights_folder())
    if not Path(name).exists():
        raise FileNotFoundError(f"{name} is no file, no folder, and no name: expected {', '.join(PUBLISHED)}, hf:REPO")
    return Path(name)


def torch_cache() -> Path:
    """Folder into which torch downloads weights."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(caches, "torch")
    return Path(os.path.expanduser(home), "hub", "checkpoints")


def weights_folder() -> Path:
    """Folder into which we download weights."""
    return default_cache_dir() / "weights"


def download(published: Published, folder: Path) -> Path:
    """Download published weights with a progress bar, under another name until the hash is right.

    Args:
        published: row of the table.
        folder: folder for the file; made if it is missing.

    Returns:
        Path of the file.

    Raises:
        ConnectionError, ValueError, OSError: as `find_weights` does.
    """
    by_hand = f"or put {published.url} into {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"weights cannot be kept in {folder}: {error.strerror}; {ADVICE}") from error
    try:
        # Some mirrors refuse the name that urllib gives itself.
        response = urlopen(Request(published.url, headers={"User-Agent": "jaxssd"}), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise ConnectionError(
            f"{published.name}: the server answered {error.code} {error.reason}; try again, {by_hand}"
        ) from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{published.name} cannot be downloaded ({reason}): try again, {by_hand}") from None
    path = folder / published.file
    with closing(response):
        size = response.length or 0
        if size > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {size / 1e6:.1f} MB are needed", str(path))
        print(f"downloading {published.url} to {folder}", file=sys.stderr)
        try:
            with replacing(path) as unfinished:
                with unfinished.open("wb") as file:
                    for block in _blocks(response, published.name, size):
                        file.write(block)
                require_hash(unfinished, published)
        except EOFError as error:
            raise ConnectionError(f"{published.name}: {error}; try again, {by_hand}") from None
    return path


def require_hash(path: Path, published: Published) -> None:
    """Raise ValueError unless the file's SHA-256 starts as the table says."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[: len(published.sha256)]
    if found != published.sha256:
        place = "the download" if path.name != published.file else str(path)
        advice = "try again" if path.name != published.file else "delete it, and it is downloaded again"
        raise ValueError(
            f"{published.name}: {place} is damaged or another file: its SHA-256 starts with {found}, expected "
            f"{published.sha256}; {advice}"
        )


def _blocks(response: HTTPResponse, name: str, size: int) -> Iterator[bytes]:
    """Content of a response; EOFError if the connection breaks. A disk's errors, in contrast, are OSErrors."""
    done = 0
    with tqdm(desc=name, total=size or None, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        while True:
            try:
                block = response.read(BLOCK)
            except (OSError, HTTPException) as error:
                raise EOFError(
                    f"the connection broke after {done / 1e6:.1f} of {size / 1e6:.1f} MB ({error})"
                ) from None
            if not block:
                break
            done += len(block)
            if done > LARGEST:
                raise ValueError(
                    f"{name}: the server sent more than {LARGEST / 1e6:.1f} MB, expected a smaller file; try again"
                )
            bar.update(len(block))
            yield block
    if done < size:
        raise EOFError(f"the connection broke after {done / 1e6:.1f} of {size / 1e6:.1f} MB")


def _from_hub(name: str) -> Path:
    """File of a repository, by the hub's own client."""
    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache
    except ImportError:
        raise ValueError(f'{name} needs the client of the Hugging Face hub: pip install -e ".[hub]"') from None
    not_found = (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # without a network it warns of each of its six attempts, twice
    try:
        found = try_to_load_from_cache(repository, HUB_FILE, revision=revision or None)
        return Path(
            found if isinstance(found, str) else hf_hub_download(repository, HUB_FILE, revision=revision or None)
        )
    except errors.LocalEntryNotFoundError:
        raise ConnectionError(
            f"{name} is not in the hub's cache, and there is no network (or HF_HUB_OFFLINE is set): run "
            f"`hf download {repository} {HUB_FILE}` where there is one, or give the path of that file"
        ) from None
    except (errors.HFValidationError, *not_found) as error:
        raise FileNotFoundError(f"{name}: the hub has no {HUB_FILE} under this name ({_first_line(error)})") from None
    except Exception as error:  # its library for HTTP is another one in other versions
        raise ConnectionError(
            f"{name} cannot be downloaded ({_first_line(error)}): try again, or give the path of that file"
        ) from error
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)
