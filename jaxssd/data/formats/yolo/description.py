"""Files that describe a YOLO data set: the one that states its splits, and the one that names its classes."""

from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.files import MAX_DEPTH, descend, file_names, plain_path, subfolders
from jaxssd.data.formats.outside_paths import find_outside
from jaxssd.data.formats.yolo.data_yaml import Stated, parse_data_yaml, parse_names, parse_names_yaml, parse_obj_data
from jaxssd.data.formats.yolo.detect import NAMES_FILES

_YAML = (".yaml", ".yml")
_MAX_FOLDERS = 100  # folders in which class names are looked for


class Description(NamedTuple):
    """Description of a data set.

    Attributes:
        names: file of the class names, or None.
        file: data.yaml or obj.data that states the splits, or None.
        stated: content of that file.
    """

    names: Path | None
    file: Path | None
    stated: Stated


def describe(root: Path, file: Path | None = None) -> Description:
    """Find and read the files that describe a data set.

    Args:
        root: folder of the data set.
        file: data.yaml or obj.data that the user named.

    Raises:
        ValueError: if there are several such files, and none has a usual name.
    """
    if file is None:
        file = _usual(root, _YAML) or _only_yaml(root) or _obj_data(root)
    stated = Stated()
    if file is not None:
        stated = _read_stated(file)
    return Description(_names_file(root, file, stated), file, stated)


def read_names(root: Path, description: Description) -> tuple[str, ...]:
    """Read the class names.

    Raises:
        ValueError: if there is no file of names, or it has a fault.
    """
    path = description.names
    if path is None:
        deeper = next((found for folder in subfolders(root) if (found := _usual(folder, _YAML))), None)
        hint = f". Did you mean --data {deeper}?" if deeper else ""
        raise ValueError(f"{root} has no class names: expected one of {', '.join(NAMES_FILES)}{hint}")
    try:
        content = path.read_bytes()
        return parse_names_yaml(content) if path.suffix.lower() in _YAML else parse_names(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def _read_stated(file: Path) -> Stated:
    try:
        return (parse_data_yaml if file.suffix.lower() in _YAML else parse_obj_data)(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error


def _names_file(root: Path, file: Path | None, stated: Stated) -> Path | None:
    """File of the class names."""
    if stated.has_names:
        return file
    if stated.names and (found := _find(stated.names, root)):
        outside = find_outside(stated.names, root, (root,))
        if outside and not outside.samefile(found):
            raise ValueError(
                f"{file}, names: {stated.names} leads out of the data set's folder, and {found} is a different file: "
                "state the path of the right one from the folder"
            )
        return found
    texts = tuple(name[name.rindex(".") :] for name in NAMES_FILES if not name.endswith(_YAML))
    named = [root / name for name in file_names(root) if name.lower().endswith(".names")]
    return _usual(root, texts) or (named[0] if len(named) == 1 else None) or _deeper(root, texts) or file


def _usual(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """First of `NAMES_FILES` that is in a folder."""
    inside = {name.lower(): name for name in reversed(file_names(folder))}
    found = [inside[name] for name in NAMES_FILES if name in inside and name.endswith(suffixes)]
    return folder / found[0] if found else None


def _only_yaml(root: Path) -> Path | None:
    """YAML file of any name that has class names."""
    found = []
    for name in file_names(root):
        if name.lower().endswith(_YAML):
            try:
                found += [root / name] * parse_data_yaml((root / name).read_bytes()).has_names
            except (OSError, ValueError):
                continue  # some other file
    if len(found) > 1:
        raise ValueError(
            f"{root} has several files with class names, {', '.join(path.name for path in found)}: "
            f"name one, --data {found[0]}"
        )
    return found[0] if found else None


def _obj_data(root: Path) -> Path | None:
    found = [name for name in file_names(root) if name.lower().endswith(".data")]
    return root / found[0] if len(found) == 1 or "obj.data" in found else None


def _deeper(root: Path, suffixes: tuple[str, ...]) -> Path | None:
    """Class names that lie with labels, one or two levels down. All such files must be equal."""
    folders = subfolders(root)[:_MAX_FOLDERS]
    folders += [inner for folder in folders for inner in subfolders(folder)][:_MAX_FOLDERS]
    found = [path for folder in folders if (path := _usual(folder, suffixes))]
    for path in found[1:]:
        if path.read_bytes().split() != found[0].read_bytes().split():
            raise ValueError(f"{found[0]} and {path} name different classes: put one file of names into {root}")
    return found[0] if found else None


def _find(written: str, root: Path) -> Path | None:
    """File at a path below the folder, without the folders before it."""
    parts = plain_path(written).split("/")
    starts = range(len(parts)) if len(parts) <= MAX_DEPTH else ()
    paths = (descend(root, "/".join(parts[start:])) for start in starts)
    return next((path for path in paths if path and path.is_file()), None)
