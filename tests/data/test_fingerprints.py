"""Every setting that decides what a reader gives is in the cache's key, and in the fingerprint of what was read."""

import inspect
import sys
from dataclasses import replace

import numpy as np
import pytest

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.shapes import make_shapes

READ = {"ids": ("a",), "image_size": 8, "class_names": ("x", "y")}
CHANGES = {
    "ids": ("b",),
    "image_size": 16,
    "class_names": ("y", "x"),
    "aspect": "crop",
    "exif": "ignore",
    "max_objects": 3,
}
"""Of each argument of `read`, another value."""
OTHERS = {"cache_dir", "workers", "progress"}
"""What changes nothing about what is read."""


class Source(VOCFolder):
    """Says it has files, and is never read."""

    path = None

    def __init__(self, folder):
        self.file = folder / "image.jpg"

    def inputs(self, ids):
        return iter([self.file])


class OtherReader(Source):
    """The same files, read in another way."""


@pytest.fixture
def key(monkeypatch, tmp_path):
    """The key under which `build_dataset` looks for what it would give."""
    (tmp_path / "image.jpg").write_bytes(b"an image")
    keys, module = [], sys.modules[build_dataset.__module__]

    def cached(cache_dir, key, *_, **__):
        keys.append(key)
        return make_shapes(1, image_size=8)

    monkeypatch.setattr(module, "cached", cached)

    def of(reader=Source, **changes):
        settings = READ | changes
        build_dataset(reader(tmp_path), settings.pop("ids"), **settings)
        return keys[-1]

    return of


def test_every_argument_that_decides_what_is_read_is_in_the_key(key):
    names = set(inspect.signature(build_dataset).parameters) - {"source"}
    unknown = names - set(CHANGES) - OTHERS
    assert not unknown, f"build_dataset has new arguments, {unknown}: are they in the cache's key? Say so here"
    found = {name: key(**{name: value}) for name, value in CHANGES.items() if name in names}
    found |= {"nothing": key(), "reader": key(OtherReader), "letterbox": key(aspect="letterbox")}
    assert len(set(found.values())) == len(found), found
    assert key() == found["nothing"]
    assert key(workers=1) == key(progress=False) == found["nothing"]


def test_every_part_of_a_data_set_that_a_run_depends_on_is_in_its_fingerprint():
    """Pixels are not: they are too many, and a run that goes on is asked for the objects."""
    dataset = make_shapes(3, image_size=8)
    first = dataset.fingerprint
    seen = {"nothing": first}
    for name in ("boxes", "labels", "valid", "difficult"):
        array = np.array(getattr(dataset.examples, name))
        array.reshape(-1)[0] = not array.reshape(-1)[0] if array.dtype == bool else array.reshape(-1)[0] + 1
        seen[name] = replace(dataset, examples=dataset.examples._replace(**{name: array})).fingerprint
    seen["sizes"] = replace(dataset, sizes=dataset.sizes + 1).fingerprint
    seen["ids"] = replace(dataset, ids=dataset.ids[::-1]).fingerprint
    seen["names"] = replace(dataset, class_names=dataset.class_names[::-1]).fingerprint
    assert len(set(seen.values())) == len(seen), seen
    assert make_shapes(3, image_size=8).fingerprint == first
