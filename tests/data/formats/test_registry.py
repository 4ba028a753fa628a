"""Formats by registry: a format of one's own is asked first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.registry import FORMATS, open_source
from jaxssd.data.formats.voc.folder import VOCFolder
from tests.data.trees import voc_xml, write_tree


@dataclass(frozen=True)
class Table(Source):
    """One line an image: its name, a class, and corners in pixels."""

    file: Path

    @property
    def path(self):
        return self.file

    def rows(self):
        return [line.split() for line in self.file.read_text().splitlines()]

    def split_names(self):
        return ()

    def split_ids(self, split):
        raise ValueError(f"{self.path} has no splits")

    def all_ids(self):
        return tuple(row[0] for row in self.rows())

    def class_names(self, ids):
        return tuple(sorted({row[1] for row in self.rows()}))

    def records(self, ids, class_names):
        rows = {row[0]: row for row in self.rows()}
        return [
            Record(
                id=name,
                image=self.path.parent / name,
                image_name=name,
                annotation_name=self.path.name,
                boxes=np.array([rows[name][2:]], np.float64),
                labels=np.array([class_names.index(rows[name][1])], np.int32),
                difficult=np.zeros(1, bool),
            )
            for name in ids
        ], []

    def inputs(self, ids):
        return [self.path, *(self.path.parent / name for name in ids)]

    def file_names(self, ids):
        return tuple(ids)


@pytest.fixture
def own_format():
    FORMATS["table"] = lambda data, images: Table(Path(data)) if data.endswith(".csv") else None
    yield
    del FORMATS._parts["table"]


def test_a_format_of_ones_own(own_format, tmp_path):
    """A .csv file, which is refused with advice without it."""
    (tmp_path / "boxes.csv").write_text("a.png cat 0 0 8 4\nb.png dog 4 4 8 8\n")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    source = open_source(str(tmp_path / "boxes.csv"))
    dataset = build_dataset(source, source.all_ids(), image_size=8, class_names=source.class_names(()))
    assert dataset.ids == ("a.png", "b.png")
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_allclose(np.asarray(dataset.examples.boxes)[:, 0], [[0, 0, 1, 0.5], [0.5, 0.5, 1, 1]])


def test_other_data_is_opened_as_before(own_format, tmp_path):
    root = write_tree(tmp_path / "set", {"Annotations/a.xml": voc_xml("car"), "JPEGImages/a.jpg": 1})
    assert isinstance(open_source(str(root)), VOCFolder)
