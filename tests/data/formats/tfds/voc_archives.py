"""Small archives laid out as PASCAL VOC's are, and what TFDS prepares of them, in `tfds_voc.zip`.

python -m tests.data.formats.tfds.voc_archives voc/2007 --data-dir DIR  # prepares small archives
python -m tests.data.formats.tfds.voc_archives --store  # writes `tfds_voc.zip`

Both need TensorFlow.
"""

import io
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxssd.data.formats.tfds import prepare as tfds_prepare

STORED = Path(__file__).parent / "tfds_voc.zip"

# image -> size (width, height) and objects: class, (xmin, ymin, xmax, ymax), difficult
IMAGES = {
    "000005": ((50, 33), [("chair", (27, 10, 33, 20), 0), ("chair", (1, 2, 20, 33), 1), ("sofa", (5, 5, 6, 6), 0)]),
    "000012": ((97, 61), [("car", (16, 7, 96, 60), 0)]),
    "000017": ((61, 97), [("person", (1, 1, 61, 97), 0), ("horse", (60, 96, 61, 97), 1), ("dog", (9, 9, 9, 20), 0)]),
    "000023": ((40, 40), []),
    "000007": ((64, 48), [("tvmonitor", (3, 3, 41, 29), 0), ("aeroplane", (40, 30, 64, 48), 0)]),
    "000009": ((48, 64), [("person", (7, 11, 13, 17), 1)]),
    "000001": ((35, 50), [("dog", (4, 24, 20, 37), 0), ("person", (1, 2, 35, 50), 0)]),
    "000002": ((33, 50), [("train", (14, 20, 21, 24), 1)]),
}
SPLITS = {"train": ["000005", "000012", "000017", "000023"], "val": ["000007", "000009"], "test": ["000001", "000002"]}


def write_archives(folder, name):
    """The two archives of `voc/2007` or `voc/2012`, under their own names; the test set of 2012 has no annotations."""
    year, (trainval, test) = name[-4:], tfds_prepare.ARCHIVES[name]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / trainval, year, {"trainval": SPLITS["train"] + SPLITS["val"], **SPLITS}, ["train", "val"])
    _write(folder / test, year, SPLITS, ["test"], annotated=year == "2007")


def unpack(archives, folder):
    """What `tar xf` makes of them."""
    for archive in archives:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    (devkit,) = (folder / "VOCdevkit").iterdir()
    return devkit


def unpack_stored(folder):
    """A data directory in which TFDS has prepared `voc/2007`."""
    with zipfile.ZipFile(STORED) as file:
        file.extractall(folder)
    return folder


def _write(path, year, splits, contained, annotated=True):
    with tarfile.open(path, "w") as archive:

        def add(name, content):
            info = tarfile.TarInfo(f"VOCdevkit/VOC{year}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        for split, names in splits.items():
            if split in contained or split == "trainval":
                add(f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in names).encode())
        for name in (name for split in contained for name in splits[split]):
            size, objects = IMAGES[name]
            add(f"JPEGImages/{name}.jpg", _jpeg(size, seed=int(name)))
            if annotated:
                add(f"Annotations/{name}.xml", _annotation(name, size, objects))


def _jpeg(size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(content, "JPEG")
    return content.getvalue()


def _annotation(name, size, objects):
    size = "<size><width>{}</width><height>{}</height><depth>3</depth></size>".format(*size)
    described = "".join(
        f"<object><name>{label}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>".format(*box)
        for label, box, difficult in objects
    )
    return f"<annotation><filename>{name}.jpg</filename>{size}{described}</annotation>".encode()


def _expect_what_is_there(data_dir):
    """Let TFDS take the archives that lie in the manual folder for VOC's, whose checksums it knows."""
    from tensorflow_datasets.core.download.checksums import compute_url_info
    from tensorflow_datasets.object_detection.voc import Voc

    for url, info in Voc.url_infos.items():
        archive = tfds_prepare.manual_dir(data_dir) / info.filename
        if archive.exists():
            Voc.url_infos[url] = compute_url_info(archive)


def _store():
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        write_archives(tfds_prepare.manual_dir(data_dir), "voc/2007")
        _expect_what_is_there(data_dir)
        assert tfds_prepare.main(["voc/2007", "--data-dir", folder]) == 0
        with zipfile.ZipFile(STORED, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(data_dir.rglob("*")):
                if path.is_file() and "extracted" not in path.parts:
                    file.writestr(zipfile.ZipInfo(str(path.relative_to(data_dir))), path.read_bytes(), 8)


if __name__ == "__main__":
    if sys.argv[1:] == ["--store"]:
        _store()
    else:
        _expect_what_is_there(Path(sys.argv[-1]))
        sys.exit(tfds_prepare.main())
