"""Image of each annotation in a VOC folder."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property

from jaxssd.data.formats.files import IMAGE_SUFFIXES, plain_path
from jaxssd.data.formats.split_lists import Lookup
from jaxssd.data.formats.voc.files import VOCFiles


class VOCImages:
    """Image of each annotation: the one with the annotation's name, or else an image without an annotation.

    In the second case it is the image that <filename> names, or the only one with the annotation's name in another
    folder or case. An image that two annotations claim like this belongs to neither.

    Args:
        files: all annotations and images.
        filename: function from an annotation's id to its <filename>, called only if needed.
    """

    def __init__(self, files: VOCFiles, filename: Callable[[str], str]) -> None:
        """Store the files. Nothing is matched yet."""
        self._annotations, self._images = files
        self._filename = filename

    def find(self, name: str) -> str | None:
        """Path of an annotation's image; None if there is none, or it is ambiguous."""
        paths = self._images.get(name)
        return paths[0] if paths else self._image_of_claim.get(name)

    def explain_missing(self, name: str) -> tuple[str, str]:
        """Kind and detail of the problem of an annotation without an image."""
        paths = self._claims.get(name, ())
        if len(paths) > 1:
            return "ambiguous", f"its image can be {', '.join(paths[:3])}: give image and annotation the same name"
        if paths:
            return "ambiguous", f"{paths[0]} is the image of several annotations: name each image like its annotation"
        return "missing", f"no file of that name with extension {', '.join(IMAGE_SUFFIXES)}, nor of its <filename>"

    def doubts(self, name: str, filename: str) -> Iterator[tuple[str, str]]:
        """Kind and detail of the problem of an annotation that could also belong to other images."""
        paths = self._images.get(name, ())
        if len(paths) > 1:
            yield "one of several of its name", f"read instead of {', '.join(paths[1:4])}"
        named = self._find(name, filename) if paths and self._unclaimed else ()
        other = self._images[named[0]][0] if named else None
        if other in self.unannotated:
            yield "named otherwise", f"read because of its name, although <filename> names {other}"

    @cached_property
    def unannotated(self) -> dict[str, str]:
        """Images that no annotation belongs to: the id that an annotation would have, by path."""
        return {path: name for path, name in self._unclaimed.items() if path not in self._claimed}

    @cached_property
    def lookup(self) -> Lookup:
        """Ids by the names of annotations and of images."""
        own = {self._images[name][0]: name for name in self._annotations if name in self._images}
        annotations = {path: name for name, path in self._annotations.items()}
        return Lookup({**self.unannotated, **self._claimed, **own, **annotations})

    @cached_property
    def _unclaimed(self) -> dict[str, str]:
        """Images without an annotation of their name: ids by path."""
        return {paths[0]: name for name, paths in self._images.items() if name not in self._annotations}

    @cached_property
    def _unclaimed_lookup(self) -> Lookup:
        return Lookup(self._unclaimed)

    @cached_property
    def _claims(self) -> dict[str, tuple[str, ...]]:
        """Images that each annotation without an image of its name may mean."""
        without = [name for name in self._annotations if name not in self._images]
        return {name: self._claim(name) for name in without} if self._unclaimed else {}

    @cached_property
    def _claimed(self) -> dict[str, str]:
        """Images that exactly one annotation claims: its id by path."""
        count = Counter(path for paths in self._claims.values() for path in paths)
        return {paths[0]: name for name, paths in self._claims.items() if len(paths) == 1 and count[paths[0]] == 1}

    @cached_property
    def _image_of_claim(self) -> dict[str, str]:
        return {name: path for path, name in self._claimed.items()}

    def _claim(self, name: str) -> tuple[str, ...]:
        found = [*self._find(name, self._filename(name)), *self._unclaimed_lookup.find(name)]
        return tuple(dict.fromkeys(self._images[image][0] for image in found))

    def _find(self, name: str, filename: str) -> tuple[str, ...]:
        """Ids of images that <filename> may mean: beside the annotation's place, as a path, or by its last part."""
        if not plain_path(filename):
            return ()
        beside = f"{name.rpartition('/')[0]}/{filename}".lstrip("/")
        last = plain_path(filename).rpartition("/")[2]
        found = (self._unclaimed_lookup.find(form) for form in (beside, filename, last))
        return next(filter(None, found), ())
