"""Which files describe a YOLO data set: the one that states its splits, and the one that names its classes."""

from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.files import MAX_DEPTH, children, descend, plain_path
from jaxssd.data.formats.outside_paths import find_outside
from jaxssd.data.formats.yolo.data_yaml import Stated, parse_data_yaml, parse_obj_data
from jaxssd.data.formats.yolo.files import NAMES_FILES
from jaxssd.data.formats.yolo.labels import parse_names, parse_names_yaml

_YAML = (".yaml", ".yml")
_MANY = 100  # folders in which files of names are looked for


class Description(NamedTuple):
    """Files of a data set.

    Attributes:
        names: the one that names the classes; None if there is none.
        file: the one that states splits, a data.yaml or an obj.data; None if there is none.
        stated: what it states.
    """

    names: Path | None
    file: Path | None
    stated: Stated


def describe(root: Path, file: Path | None = None) -> Description:
    """Find the files that describe a data set.

    Args:
        root: the data set's folder.
        file: one that a user named.

    Raises:
        ValueError: naming the files, if there are several of which none is called as usual.
    """
    if file is None:
        file = _usual(root, _YAML) or _only_yaml(root) or _obj_data(root)
    stated = Stated()
    if file is not None:
        stated = _read_stated(file)
    return Description(_names_file(root, file, stated), file, stated)


def read_names(root: Path, description: Description) -> tuple[str, ...]:
    """The names of the classes.

    Raises:
        ValueError: naming the file, if there is none, or with what is wrong with it.
    """
    if description.names is None:
        folders = [root / name for name, is_folder in children(root).items() if is_folder]
        deeper = next((path for folder in folders if (path := _usual(folder, _YAML))), None)
        hint = f". Did you mean --data {deeper}?" if deeper else ""
        raise ValueError(f"{root} has no names of classes: expected is one of {', '.join(NAMES_FILES)}{hint}")
    path = description.names
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
    if stated.has_names:
        return file
    if stated.names and (found := _find(stated.names, root)):
        outside = find_outside(stated.names, root, (root,))
        if outside and not outside.samefile(found):
            raise ValueError(
                f"{file}, names: {stated.names} leads out of the data set's folder, and {found} is another file: state "
                "the one that is meant by its path from the folder"
            )
        return found
    texts = tuple(name[name.rindex(".") :] for name in NAMES_FILES if not name.endswith(_YAML))
    named = [root / name for name in _files(root) if name.lower().endswith(".names")]
    return _usual(root, texts) or (named[0] if len(named) == 1 else None) or _deeper(root, texts) or file


def _usual(folder: Path, endings: tuple[str, ...]) -> Path | None:
    """The first of `NAMES_FILES` that is in a folder."""
    inside = {name.lower(): name for name in reversed(_files(folder))}
    found = [inside[name] for name in NAMES_FILES if name in inside and name.endswith(endings)]
    return folder / found[0] if found else None


def _only_yaml(root: Path) -> Path | None:
    """A YAML file of any name that has names of classes."""
    found = []
    for name in _files(root):
        if name.lower().endswith(_YAML):
            try:
                found += [root / name] * parse_data_yaml((root / name).read_bytes()).has_names
            except (OSError, ValueError):
                continue  # some other file
    if len(found) > 1:
        raise ValueError(
            f"{root} has several files with names of classes, {', '.join(path.name for path in found)}: "
            f"name one, --data {found[0]}"
        )
    return found[0] if found else None


def _obj_data(root: Path) -> Path | None:
    found = [name for name in _files(root) if name.lower().endswith(".data")]
    return root / found[0] if len(found) == 1 or "obj.data" in found else None


def _deeper(root: Path, endings: tuple[str, ...]) -> Path | None:
    """Names that lie with labels, in folders one and two levels down; they are all alike."""
    folders = [root / name for name, is_folder in children(root).items() if is_folder][:_MANY]
    folders += [path / name for path in folders for name, is_folder in children(path).items() if is_folder][:_MANY]
    found = [path for folder in folders if (path := _usual(folder, endings))]
    for path in found[1:]:
        if path.read_bytes().split() != found[0].read_bytes().split():
            raise ValueError(f"{found[0]} and {path} name other classes: put one file of names into {root}")
    return found[0] if found else None


def _find(written: str, root: Path) -> Path | None:
    """A file by its path from a folder, less what stands before it."""
    parts = plain_path(written).split("/")
    starts = range(len(parts)) if len(parts) <= MAX_DEPTH else ()
    paths = (descend(root, "/".join(parts[start:])) for start in starts)
    return next((path for path in paths if path and path.is_file()), None)


def _files(folder: Path) -> list[str]:
    return [name for name, is_folder in children(folder).items() if not is_folder]
