"""Data set of PASCAL VOC prepared by TensorFlow Datasets."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxssd.data.formats.annotated_boxes import check_boxes
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.tfds.detect import NAMES
from jaxssd.data.formats.tfds.reader import Example, TFDSImage, import_tfds, open_prepared, read_examples
from jaxssd.data.formats.voc.annotation import to_boxes
from jaxssd.data.report import Problem

_SPLITS = {"train": "train", "val": "validation", "trainval": "train+validation", "test": "test"}
"""TFDS's name of each of VOC's splits."""

_UNANNOTATED = {"voc/2012": ("test",)}


def default_data_dir() -> Path:
    """TFDS's own default: `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()


@dataclass(frozen=True)
class TFDSVoc(Source):
    """PASCAL VOC 2007 or 2012 by TensorFlow Datasets.

    Nothing is read or prepared before the first use.

    Args:
        name: `voc/2007` or `voc/2012`.
        data_dir: TFDS's folder of data sets.

    Raises:
        ValueError: for another name; on first use, if packages are missing, or the prepared files are damaged or in
            another file format.
        OSError: on first use, if the data set cannot be prepared.
    """

    name: str
    data_dir: Path = field(default_factory=default_data_dir)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"TFDSVoc: `name` is {self.name!r}, expected {' or '.join(NAMES)}")

    @property
    def path(self) -> Path:
        """Folder of the prepared files."""
        return self.data_dir / self.name

    def split_names(self) -> tuple[str, ...]:
        """Annotated splits, by VOC's names."""
        return tuple(sorted(name for name in _SPLITS if name not in self._unannotated))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of a split, in the order in which TFDS has shuffled them.

        Args:
            split: one of `split_names`, `validation`, or TFDS's sums and slices of them: `train+validation`,
                `train[:10%]`, `val[50:]`.

        Raises:
            ValueError: if there is no such split, it is empty, or its annotations are not public (`test` of 2012).
        """
        parts = [part.strip() for part in split.split("+")]
        names = [part.partition("[")[0] for part in parts]
        if unknown := sorted(set(names) - {*_SPLITS, *_SPLITS.values()}):
            raise ValueError(self._no_split(split, f"{unknown[0]!r} is unknown"))
        if any(name in self._unannotated for name in names):
            raise ValueError(f"{self.name} has no annotations for {split!r}: they are not public")
        ids: dict[str, None] = {}  # an ordered set
        spec = "+".join(_SPLITS.get(part, re.sub(r"^val\b", "validation", part)) for part in parts)
        for part in self._absolute(split, spec):
            examples = read_examples(self.name, self.data_dir, part.splitname)
            ids.update((example.id, None) for example in examples[part.from_ : part.to])
        if not ids:
            raise ValueError(f"{self.path}: the split {split!r} is empty")
        return tuple(ids)

    def all_ids(self) -> tuple[str, ...]:
        """All images with public annotations, in alphabetical order."""
        return tuple(sorted(name for split in self._stored for name in self.split_ids(split)))

    def class_names(self, ids: Iterable[str] = ()) -> tuple[str, ...]:
        """VOC's twenty classes, in alphabetical order, for any `ids`."""
        return tuple(open_prepared(self.name, self.data_dir).info.features["objects"]["label"].names)

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images with their objects; an unknown id is a problem."""
        known, records = self._find(ids), []
        label_of = {name: label for label, name in enumerate(class_names)}
        problems: list[Problem] = []
        for name in ids:
            if example := known.get(name):
                records.append(self._record(example, label_of, problems))
            else:
                problems.append(Problem(name, "skipped", "missing", f"{self.name} has no image of that name"))
        return records, problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """Files of the splits that the images are in."""
        splits = open_prepared(self.name, self.data_dir).info.splits
        found = sorted({example.split for example in self._find(ids).values()})
        files = [Path(os.fspath(file)) for split in found for file in splits[split].filepaths]
        return [file if file.is_file() else None for file in files]

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Paths of the images in VOC's own archives."""
        return tuple(f"JPEGImages/{name}.jpg" for name in ids)

    @property
    def _unannotated(self) -> tuple[str, ...]:
        return _UNANNOTATED.get(self.name, ())

    @property
    def _stored(self) -> tuple[str, ...]:
        """Annotated splits by TFDS's names. Each image is in one."""
        return tuple(split for split in ("train", "validation", "test") if split not in self._unannotated)

    def _find(self, ids: Sequence[str]) -> dict[str, Example]:
        wanted = set(ids)
        found: dict[str, Example] = {}
        for split in self._stored:
            if wanted <= found.keys():
                break
            found.update(
                {item.id: item for item in read_examples(self.name, self.data_dir, split) if item.id in wanted}
            )
        return found

    def _absolute(self, split: str, spec: str) -> Sequence[Any]:
        """TFDS's parts of a split: each a stored split with its first and last position."""
        infos = open_prepared(self.name, self.data_dir).info.splits
        try:
            return import_tfds(self.name).core.ReadInstruction.from_spec(spec).to_absolute(infos)
        except ValueError as error:
            raise ValueError(self._no_split(split, str(error).splitlines()[0])) from error

    def _no_split(self, split: str, why: str) -> str:
        known = ", ".join(self.split_names())
        return (
            f"{self.name} has no split {split!r} ({why}); it has {known}, and TFDS's sums and slices of them such as "
            "train+validation and train[:10%]"
        )

    def _record(self, example: Example, label_of: Mapping[str, int], problems: list[Problem]) -> Record:
        file = f"{example.split}/{example.id}"
        boxes, labels, difficult = check_boxes(to_boxes(example.objects), label_of, file=file, problems=problems)
        return Record(
            id=example.id,
            image=TFDSImage(self.name, self.data_dir, example.split, example.place),
            image_name=f"{file}.jpg",
            annotation_name=file,
            boxes=boxes,
            labels=labels,
            difficult=difficult,
        )
