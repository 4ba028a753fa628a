"""Words by which data sets call their splits, and the one name that each has here."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
    "trainval": ("trainval",),
}
_NAME_OF = {word: name for name, words in _NAMES.items() for word in words}
_WORDS = "|".join(sorted(_NAME_OF, key=len, reverse=True))
_PATTERN = re.compile(
    rf"(?:obj_|autosplit_|\d{{4}}_)?({_WORDS})[_-]?(?:\d{{4}}|list|data|set|split|images|imgs|files|ids|zip)?",
    re.IGNORECASE,
)


def split_name(word: str) -> str | None:
    """The split that a folder, a list of images or a key is called after.

    Args:
        word: without its ending.

    Returns:
        `train`, `val`, `test` or `trainval`; None for any other word.

    Example:
        >>> [split_name(word) for word in ("Train", "valid", "obj_train_data", "train_list", "test2007", "trains")]
        ['train', 'val', 'train', 'train', 'test', None]
    """
    match = _PATTERN.fullmatch(word.strip())
    return _NAME_OF[match[1].lower()] if match else None


def find_split(name: str, splits: Collection[str]) -> str | None:
    """The split that a user means by a name, in any case and by any word for it.

    Example:
        >>> find_split("Valid", ("train", "val")), find_split("holdout", ("train", "val"))
        ('val', None)
    """
    folded = {split.casefold(): split for split in splits}
    return (
        name
        if name in splits
        else folded.get(name.casefold()) or next((split for split in splits if split == split_name(name)), None)
    )


def split_folders(paths: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Ids by the first folder in their paths that is called after a split; none if no folder is.

    Example:
        >>> split_folders({"a": ["images/train/a.jpg"], "b": ["labels/b.txt", "images/valid/b.jpg"], "c": ["c.jpg"]})
        {'train': ('a',), 'val': ('b',)}
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name, places in paths.items():
        splits = [split for path in places for part in path.split("/")[:-1] if (split := split_name(part))]
        if splits:
            found[splits[0]].append(name)
    return {split: tuple(names) for split, names in found.items()}
