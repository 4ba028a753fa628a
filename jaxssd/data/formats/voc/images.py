"""Which image each of a VOC data set's annotations is of."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property

from jaxssd.data.formats.files import IMAGE_SUFFIXES, plain_path
from jaxssd.data.formats.split_lists import Lookup
from jaxssd.data.formats.voc.files import VOCFiles


class VOCImages:
    """The image of an annotation is the one of its name; where there is none, one that no other is named like.

    That is the one that its <filename> names, or the only one of its name in another folder or another case. What two
    annotations claim so belongs to neither.

    Args:
        files: all annotations and images.
        filename: what an annotation, by its id, has as <filename>; called only where it matters.
    """

    def __init__(self, files: VOCFiles, filename: Callable[[str], str]) -> None:
        """Nothing is looked up yet."""
        self._annotations, self._images = files
        self._filename = filename

    def of(self, name: str) -> str | None:
        """Path of an annotation's image; None if it has none, or it is not clear which."""
        paths = self._images.get(name)
        return paths[0] if paths else self._of_claim.get(name)

    def why_none(self, name: str) -> tuple[str, str]:
        """Kind and detail of what is wrong with an annotation that has no image."""
        paths = self._claims.get(name, ())
        if len(paths) > 1:
            return "ambiguous", f"its image can be {', '.join(paths[:3])}: name both alike"
        if paths:
            return "ambiguous", f"{paths[0]} is the image of several annotations: name each image like its annotation"
        return "missing", f"no file of that name with extension {', '.join(IMAGE_SUFFIXES)}, nor of its <filename>"

    def doubts(self, name: str, filename: str) -> Iterator[tuple[str, str]]:
        """Kind and detail of what else an annotation that has an image could have meant."""
        paths = self._images.get(name, ())
        if len(paths) > 1:
            yield "one of several of its name", f"taken, and not {', '.join(paths[1:4])}"
        named = self._find(name, filename) if paths and self._unclaimed else ()
        other = self._images[named[0]][0] if named else None
        if other in self.unsaid:
            yield "named otherwise", f"taken for its name, although <filename> is that of {other}"

    @cached_property
    def unsaid(self) -> dict[str, str]:
        """Images that no annotation mentions: the ids that theirs would have, by path."""
        return {path: name for path, name in self._unclaimed.items() if path not in self._claimed}

    @cached_property
    def lookup(self) -> Lookup:
        """Ids by the names of annotations and of images."""
        own = {self._images[name][0]: name for name in self._annotations if name in self._images}
        annotations = {path: name for name, path in self._annotations.items()}
        return Lookup({**self.unsaid, **self._claimed, **own, **annotations})

    @cached_property
    def _unclaimed(self) -> dict[str, str]:
        """Images without an annotation of their name: ids by path."""
        return {paths[0]: name for name, paths in self._images.items() if name not in self._annotations}

    @cached_property
    def _unclaimed_lookup(self) -> Lookup:
        return Lookup(self._unclaimed)

    @cached_property
    def _claims(self) -> dict[str, tuple[str, ...]]:
        """What each annotation without an image of its name can mean."""
        lonely = [name for name in self._annotations if name not in self._images]
        return {name: self._meant_by(name) for name in lonely} if self._unclaimed else {}

    @cached_property
    def _claimed(self) -> dict[str, str]:
        """Ids of such annotations by the image that is theirs alone."""
        count = Counter(path for paths in self._claims.values() for path in paths)
        return {paths[0]: name for name, paths in self._claims.items() if len(paths) == 1 and count[paths[0]] == 1}

    @cached_property
    def _of_claim(self) -> dict[str, str]:
        return {name: path for path, name in self._claimed.items()}

    def _meant_by(self, name: str) -> tuple[str, ...]:
        found = [*self._find(name, self._filename(name)), *self._unclaimed_lookup.find(name)]
        return tuple(dict.fromkeys(self._images[image][0] for image in found))

    def _find(self, name: str, filename: str) -> tuple[str, ...]:
        """Ids of images that <filename> can mean: beside the annotation's own place first, by its last part at last."""
        if not plain_path(filename):
            return ()
        beside = f"{name.rpartition('/')[0]}/{filename}".lstrip("/")
        last = plain_path(filename).rpartition("/")[2]
        found = (self._unclaimed_lookup.find(form) for form in (beside, filename, last))
        return next(filter(None, found), ())
