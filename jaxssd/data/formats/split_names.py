"""Names of splits: the words that data sets use for train, val, test and trainval."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
    "trainval": ("trainval",),
}
_NAME_OF = {word: name for name, words in _NAMES.items() for word in words}
_WORDS = "|".join(sorted(_NAME_OF, key=len, reverse=True))
_KINDS = "images?|imgs?|labels?|annotations?|data(?:set)?"
_PATTERN = re.compile(
    rf"(?:(?:obj|autosplit|{_KINDS}|\d{{1,4}})[ _-])?({_WORDS})"
    rf"(?:\d{{1,4}}|[ _-]?(?:\d{{4}}|list|set|split|files|ids|zip|{_KINDS}))?",
    re.IGNORECASE,
)
_END = re.compile(rf"[ _-]?(?:{_KINDS}|list|set|split|files)$")
_WORD = re.compile(r"(?<![a-z])(trainval|train|training|validation|valid|val|testing|test)(?![a-z])[-_]?\d*")


def split_name(word: str) -> str | None:
    """Split that a folder, list or key is named after, if its name has no other words.

    Args:
        word: name without its extension.

    Returns:
        `train`, `val`, `test`, `trainval` or None.

    Example:
        >>> [split_name(word) for word in ("Train", "valid", "obj_train_data", "train_list", "test2007", "trains")]
        ['train', 'val', 'train', 'train', 'test', None]
        >>> [split_name(word) for word in ("Train Set", "images_train", "01_train", "train1", "latest", "cars_train")]
        ['train', 'train', 'train', 'train', None, None]
    """
    match = _PATTERN.fullmatch(word.strip())
    return _NAME_OF[match[1].lower()] if match else None


def split_word(name: str) -> str | None:
    """Split named anywhere in the name of a split's file; None if no split, or more than one, is named.

    Example:
        >>> split_word("instances_train2017"), split_word("valid"), split_word("Test-set"), split_word("constraints")
        ('train', 'val', 'test', None)
    """
    splits = {_NAME_OF[match[1]] for match in _WORD.finditer(name.lower())}
    if splits == {"train", "val"}:
        return "trainval"
    return splits.pop() if len(splits) == 1 else split_name(name)


def split_words(name: str) -> set[str]:
    """Words for splits in a name, with their years."""
    return {match[0] for match in _WORD.finditer(name.lower())}


def split_at_end(name: str) -> str | None:
    """Split that a folder or list is named after, or that its name ends with.

    A class may be called `toy_train`; `splits_of` decides by the names beside it.

    Example:
        >>> [split_at_end(name) for name in ("valid", "cars_train", "my-test", "train_val", "test_car_01", "contest")]
        ['val', 'train', 'test', 'trainval', None, None]
    """
    if exact := split_name(name):
        return exact
    bare = _END.sub("", name.lower())
    words = list(_WORD.finditer(bare))
    return split_word(name) if words and words[-1].end() == len(bare) else None


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """Splits of names that lie beside each other: `cars_train` is a split beside `cars_val` or `val`.

    Example:
        >>> splits_of(["cars_train", "cars_val", "toy_train", "toy_car"]), splits_of(["my-train", "val"])
        ({'cars_train': 'train', 'cars_val': 'val'}, {'val': 'val', 'my-train': 'train'})
    """
    names = tuple(dict.fromkeys(names))
    exact = {name: split for name in names if (split := split_name(name))}
    ending: dict[str, dict[str, str]] = defaultdict(dict)  # by the text before the split
    for name in names:
        if name not in exact and (split := split_at_end(name)):
            first = next(_WORD.finditer(name.lower()))
            ending[name.lower()[: first.start()]][name] = split
    groups = [group for group in ending.values() if len({*group.values(), *exact.values()}) > 1]
    return exact | {name: split for group in groups for name, split in group.items()}


def find_split(name: str, splits: Collection[str]) -> str | None:
    """Split that a user names, in any case and by any word for it.

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
    """Group ids by the first folder in their paths that is named after a split.

    Args:
        paths: for each id its paths, the most important first.

    Returns:
        Ids of each split. Ids without such a folder are in none.

    Example:
        >>> split_folders({"a": ["images/train/a.jpg"], "b": ["labels/b.txt", "images/valid/b.jpg"], "c": ["c.jpg"]})
        {'train': ('a',), 'val': ('b',)}
    """
    folders = {name: [part for path in places for part in path.split("/")[:-1]] for name, places in paths.items()}
    known = splits_of(part for parts in folders.values() for part in parts)
    exact = {part for part in known if split_name(part)}
    found: dict[str, list[str]] = defaultdict(list)
    for name, parts in folders.items():
        named = [part for part in parts if part in exact] or [part for part in parts if part in known]
        if named:
            found[known[named[0]]].append(name)
    return {split: tuple(names) for split, names in found.items()}
