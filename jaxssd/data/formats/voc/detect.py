"""Detection of PASCAL VOC folders, by names alone."""

from pathlib import Path

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.files import children, subfolders

ANNOTATION_FOLDERS = {"annotations", "annotation", "annots", "xmls", "xml", "labels", "label"}
IMAGE_FOLDERS = {"jpegimages", "jpegimage", "pngimages", "images", "image", "imgs", "img", "pictures", "photos"}
"""Folder names in lower case."""

_MAX_ENTRIES = 200  # entries of a folder that are searched for annotations


def open_data(data: str, images: str | None = None) -> Source | None:
    """Open a folder in PASCAL VOC layout with an XML file up to two levels down; None for anything else."""
    path = Path(data)
    if not may_be_voc(path) or not any(any(path.glob(pattern)) for pattern in ("*.xml", "*/*.xml", "*/*/*.xml")):
        return None
    from jaxssd.data.formats.voc.folder import VOCFolder

    return VOCFolder(path)


def may_be_voc(root: Path) -> bool:
    """True if a folder has VOC's folders, or XML files."""
    return all(role_folders(root)) or looks_like_voc(root)


def has_annotations(root: Path) -> bool:
    """True if a folder named after annotations has an XML file in it, or one level below."""
    for folder in (root / name for name in role_folders(root)[0]):
        deeper = [name for inner in subfolders(folder) for name in children(inner)]
        if any(name.lower().endswith(".xml") for name in [*children(folder), *deeper]):
            return True
    return False


def role_folders(root: Path) -> tuple[list[str], list[str]]:
    """Names of the folders in `root` that are named after annotations, and after images."""
    names = [folder.name for folder in subfolders(root)]
    return (
        [name for name in names if name.lower() in ANNOTATION_FOLDERS],
        [name for name in names if name.lower() in IMAGE_FOLDERS],
    )


def looks_like_voc(root: Path) -> bool:
    """True if there is an XML file in the folder or up to two levels below; no file is opened."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        inside = children(folder)
        if any(name.lower().endswith(".xml") and not is_folder for name, is_folder in inside.items()):
            return True
        if depth < 2:
            below = list(inside.items())[:_MAX_ENTRIES]
            pending += [(folder / name, depth + 1) for name, is_folder in below if is_folder]
    return False
