"""Broken and hostile data, the same in every format: the same counts in the report, and the same boxes that survive."""

import importlib.util
import io
import json
import os
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from jaxssd.data import image_limits
from jaxssd.data.build import build_dataset
from jaxssd.data.formats import files
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.folder import YOLOFolder
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.data.images import Drawn, decode, decode_all

WIDTH, HEIGHT = 16, 8  # shares of both are exact, so that the formats agree to the last bit
BOX = (2, 4, 6, 12)
NAN, INF = float("nan"), float("inf")


def encoded(image_format, image=None, **options):
    buffer = io.BytesIO()
    (image or Image.effect_noise((WIDTH, HEIGHT), 50)).save(buffer, image_format, **options)
    return buffer.getvalue()


GOOD = encoded("PNG", Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks, width=WIDTH, height=HEIGHT, after=b""):
    """A black picture with chunks before and after its pixels, its header's size true or not."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((WIDTH + 1) * HEIGHT)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + after + chunk(b"IEND", b"")


def jpeg(*segments, size=None, **options):
    """A picture with segments before all else, its header's size true or not."""
    data = encoded("JPEG", **options)
    if size:
        frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
        data = data[: frame + 5] + struct.pack(">HH", *size) + data[frame + 9 :]
    return data[:2] + b"".join(segments) + data[2:]


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def webp(width, height):
    """A WebP whose header claims a size."""
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + encoded("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width=WIDTH, height=HEIGHT, tile=None, tag=0):
    """A grey TIFF without its pixels that claims a size, of its tiles too, and a tag of so many bytes."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    if tile:
        entries += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, 8), (325, 4, 1, 100)]
    else:
        entries += [(273, 4, 1, 8), (279, 4, 1, 100)]
    entries += [(700, 1, tag, 8)] if tag else []
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", 0) + bytes(100)


def turned(orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif)


# ---- one data set in each format ----


class VOC:
    """A folder in VOC's layout."""

    corners_swapped = "swapped corners"

    def __init__(self, root):
        self.root, self.pictures = root, root / "JPEGImages"
        self.pictures.mkdir(parents=True)
        (root / "Annotations").mkdir()

    def annotate(self, name, boxes, size=None, class_name="car"):
        sides = "<size><height>{}</height><width>{}</width></size>".format(*size) if size else ""
        objects = "".join(
            f"<object><name>{class_name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for y1, x1, y2, x2 in boxes
        )
        self.write(name, f"<annotation>{sides}{objects}</annotation>".encode())

    def write(self, name, content):
        (self.root / "Annotations" / f"{name}.xml").write_bytes(content)

    def source(self):
        return VOCFolder(self.root)

    def arguments(self):
        return ["--data", str(self.root)]


class COCO:
    """A file of COCO's instances."""

    corners_swapped = "negative size"

    def __init__(self, root):
        self.root, self.pictures = root, root / "pictures"
        self.pictures.mkdir(parents=True)
        self.content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "car"}]}

    def annotate(self, name, boxes, size=None):
        number = len(self.content["images"])
        sides = dict(zip(("height", "width"), size, strict=True)) if size else {}
        self.content["images"].append({"id": number, "file_name": f"{name}.jpg", **sides})
        self.content["annotations"] += [
            {"image_id": number, "category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]} for y1, x1, y2, x2 in boxes
        ]

    def source(self):
        (self.root / "all.json").write_text(json.dumps(self.content))
        return COCOJson(self.root / "all.json", self.pictures)

    def arguments(self):
        return ["--data", str(self.source().path), "--images", str(self.pictures)]


class YOLO:
    """A folder in YOLO's layout."""

    corners_swapped = "negative size"

    def __init__(self, root):
        self.root, self.pictures = root, root / "images"
        self.pictures.mkdir(parents=True)
        (root / "labels").mkdir()
        (root / "classes.txt").write_text("car\n")

    def annotate(self, name, boxes, size=None):
        height, width = size or (HEIGHT, WIDTH)
        lines = [
            f"0 {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}\n"
            for y1, x1, y2, x2 in boxes
        ]
        self.write(name, "".join(lines).encode())

    def write(self, name, content):
        (self.root / "labels" / f"{name}.txt").write_bytes(content)

    def source(self):
        return YOLOFolder(self.root)

    def arguments(self):
        return ["--data", str(self.root)]


FORMATS = [VOC, COCO, YOLO]


@pytest.fixture(params=FORMATS)
def data(request, tmp_path):
    return request.param(tmp_path / "data")


def add(data, name, *boxes, image=GOOD, size=None):
    data.annotate(name, boxes, size)
    if image is not None:
        (data.pictures / f"{name}.jpg").write_bytes(image)


def load(data, **options):
    source = data.source()
    settings = {"image_size": 8, "class_names": ("car",), "progress": False, "workers": 1, **options}
    return build_dataset(source, source.all_ids(), **settings)


def counts(dataset):
    """What the report counts; each entry must name a place and a reason."""
    assert all(problem.file and problem.detail for problem in dataset.report.problems)
    assert dataset.report.images == len(dataset.ids)
    kinds: Counter = Counter()
    for problem in dataset.report.problems:
        kinds[problem.action, problem.kind] += problem.count
    return dict(kinds)


def boxes_of(dataset, row):
    """In the pixels of the pictures."""
    return (dataset.examples.boxes[row, dataset.examples.valid[row]] * np.tile([HEIGHT, WIDTH], 2)).tolist()


# ---- images ----

BOMB = zlib.compress(bytes(80_000_000), 9)
UNREADABLE = {
    "empty": (b"", "broken"),
    "text": (b"<html>not found</html>", "broken"),
    "PCX": (encoded("PCX"), "broken"),
    "PNG cut short": (encoded("PNG")[:-40], "broken"),
    "WebP cut short": (encoded("WEBP")[:-20], "broken"),
    "BMP cut short": (encoded("BMP")[:-20], "broken"),
    "TIFF cut short": (encoded("TIFF")[:-20], "broken"),
    "GIF cut short": (encoded("GIF")[:-20], "broken"),
    "progressive JPEG without its pixels": (
        jpeg(progressive=True)[: jpeg(progressive=True).index(b"\xff\xda") + 14],
        "broken",
    ),
    "WebP bomb": (webp(60_000, 60_000), "oversized"),
    "GIF bomb": (encoded("GIF")[:6] + struct.pack("<HH", 60_000, 60_000) + encoded("GIF")[10:], "oversized"),
    "BMP bomb": (encoded("BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + encoded("BMP")[26:], "oversized"),
    "TIFF bomb": (tiff(width=60_000, height=60_000), "oversized"),
    "TIFF of one huge tile": (tiff(tile=(60_000, 60_000)), "oversized"),
    "JPEG's first bytes": (b"\xff\xd8\xff", "broken"),
    "JPEG without a pixel": (jpeg(size=(0, 0)), "broken"),
    "PNG without a pixel": (png(width=0), "broken"),
    "PNG bomb": (png(width=30_000, height=30_000), "oversized"),
    "PNG of one column": (png(width=1, height=64_000_000), "oversized"),
    "JPEG bomb": (jpeg(size=(60_000, 1_100)), "oversized"),
    "progressive JPEG bomb": (jpeg(size=(60_000, 60_000), progressive=True), "oversized"),
    "bomb as colour profile": (png(chunk(b"iCCP", b"x\0\0" + BOMB)), "broken"),
    "bomb as text": (png(chunk(b"zTXt", b"x\0\0" + BOMB)), "broken"),
    "bomb as text after the pixels": (png(after=chunk(b"zTXt", b"x\0\0" + BOMB)), "broken"),
    "many comments in JPEG": (jpeg(segment(0xFE, b"") * 3000), "oversized"),
    "much EXIF in JPEG": (jpeg(segment(0xE1, b"Exif\0\0x") * 3000), "oversized"),
    "junk in JPEG": (jpeg(segment(0xFE, b""), bytes(3000)), "oversized"),
    "fill in JPEG": (jpeg(b"\xff" * 3000), "oversized"),
    "many texts in PNG": (png(*[chunk(b"tEXt", b"x%d\0" % n) for n in range(1000)]), "oversized"),
    "many texts after PNG's pixels": (png(after=chunk(b"tEXt", b"x\0") * 1000), "oversized"),
    "long text in PNG": (png(chunk(b"tEXt", b"x\0" + bytes(1_200_000))), "oversized"),
    "long file": (png(after=chunk(b"tEXt", b"x\0" + bytes(3_000_000))), "oversized"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_unreadable_images_are_skipped(data, monkeypatch, fault):
    monkeypatch.setattr(image_limits, "MAX_READS", 2000)
    monkeypatch.setattr(image_limits, "MAX_HEADER_BYTES", 1_000_000)
    monkeypatch.setattr(image_limits, "MAX_BYTES", 3_000_000)
    content, kind = UNREADABLE[fault]
    add(data, "a", BOX)
    add(data, "bad", BOX, image=content)
    add(data, "z", (0, 0, 8, 16))
    dataset = load(data)
    assert counts(dataset) == {("skipped", kind): 1}
    assert "bad" in dataset.report.problems[0].file
    assert (dataset.ids, boxes_of(dataset, 0), boxes_of(dataset, 1)) == (("a", "z"), [[*BOX]], [[0, 0, 8, 16]])
    assert dataset.report.summary() == f"2 images, 2 objects; skipped 1 image ({kind})"


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "link to itself", "link to a device"])
def test_images_that_are_no_files_are_missing(data, kind):
    """Opening a pipe or a device would wait, or read, for ever."""
    add(data, "a", BOX)
    add(data, "bad", BOX, image=None)
    path = data.pictures / "bad.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif "link" in kind:
        os.symlink("bad.jpg" if kind == "link to itself" else "/dev/zero", path)
    dataset = load(data)
    assert (dataset.ids, counts(dataset)) == (("a",), {("skipped", "missing"): 1})


EXIF = {
    "no entries": b"",
    "noise": b"garbage" * 20,
    "no end": b"II*\0\x08\0\0\0\xff\xff",
    "a text as orientation": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\xff\x06\0\0\0",
    "a fraction nowhere as orientation": b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\xf0\xff\xff\xff",
    "no such orientation": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
    "a folder in itself": b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
}
READABLE = {
    "CMYK": jpeg(image=Image.new("CMYK", (WIDTH, HEIGHT))),
    "grey": jpeg(image=Image.new("L", (WIDTH, HEIGHT))),
    "16 bits": encoded("PNG", Image.fromarray(np.full((HEIGHT, WIDTH), 0x8042, np.uint16))),
    "palette": encoded("PNG", Image.new("P", (WIDTH, HEIGHT))),
    "one bit": encoded("PNG", Image.new("1", (WIDTH, HEIGHT))),
    "transparent": encoded("PNG", Image.new("RGBA", (WIDTH, HEIGHT))),
    "progressive": jpeg(progressive=True),
    "animated": encoded(
        "PNG",
        Image.new("L", (WIDTH, HEIGHT)),
        save_all=True,
        append_images=[Image.new("L", (WIDTH, HEIGHT), 200)],
    ),
    "frames that are not there": png(chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))),
    "TIFF with a huge tag": tiff(tag=0xFFFF_FFF0),
    "pixels too many": png(after=chunk(b"IDAT", BOMB)),
    **{f"EXIF with {what}": jpeg(segment(0xE1, b"Exif\0\0" + content)) for what, content in EXIF.items()},
}


@pytest.mark.parametrize("look", READABLE)
def test_odd_images_are_read(data, look):
    """Also where the stated size asks whether it is that of the picture turned, which YOLO's always is."""
    add(data, "a", BOX, image=READABLE[look])
    if not isinstance(data, YOLO):
        add(data, "b", BOX, image=READABLE[look], size=(WIDTH, HEIGHT))
    dataset = load(data)
    assert [boxes_of(dataset, row) for row in range(len(dataset.ids))] == [[[*BOX]]] * len(dataset.ids)
    assert counts(dataset) == ({("noted", "of another size than annotated"): 1} if len(dataset.ids) > 1 else {})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(data, orientation):
    """YOLO's boxes are over the picture as shown. The others' are over it as stored, unless they state its other size;
    so a half turn or a mirror, which leave the size as it is, are not applied.
    """
    standing = orientation > 4
    shown = (WIDTH, HEIGHT) if standing else (HEIGHT, WIDTH)
    add(data, "a", (0, 0, shown[0] / 2, shown[1]), image=turned(orientation), size=shown)
    dataset = load(data)
    told = standing and not isinstance(data, YOLO)
    assert counts(dataset) == ({("noted", "turned as its EXIF says"): 1} if told else {})
    assert dataset.sizes.tolist() == [[*shown]]
    assert dataset.examples.boxes[0, 0].tolist() == [0, 0, 0.5, 1]
    pixels, _ = decode(data.pictures / "a.jpg", 8, upright=standing or isinstance(data, YOLO))
    np.testing.assert_array_equal(dataset.examples.images[0], pixels)


@pytest.mark.parametrize("make", [VOC, COCO])
def test_without_a_stated_size_pixels_stay_as_stored(make, tmp_path):
    data = make(tmp_path / "data")
    add(data, "a", BOX, image=turned())
    dataset = load(data)
    assert (dataset.sizes.tolist(), boxes_of(dataset, 0)) == ([[HEIGHT, WIDTH]], [[*BOX]])


def test_limits_leave_photographs_alone(tmp_path):
    """A PNG in parts of 8 kB, as libpng writes them, and a JPEG with a long profile and many comments."""
    stream = zlib.compress(bytes(801 * 600), 0)
    parts = [chunk(b"IDAT", stream[at : at + 8192]) for at in range(0, len(stream), 8192)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 800, 600, 8, 0, 0, 0, 0))
    (tmp_path / "a").write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + chunk(b"IEND", b""))
    assert decode(tmp_path / "a", 8)[1].size == (600, 800)
    assert 4 * len(parts) * image_limits.MAX_PIXELS // (800 * 600) < image_limits.MAX_READS
    profile = segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(60_000)) * 255
    (tmp_path / "a").write_bytes(jpeg(profile, segment(0xFE, b"comment") * 1000))
    assert decode(tmp_path / "a", 8)[1].size == (HEIGHT, WIDTH)


def image_or_refusal(path, content, upright):
    """Any exception fails the test that calls this."""
    path.write_bytes(content)
    (found,) = decode_all([path], np.zeros((1, 8, 8, 3), np.uint8), upright=[upright], workers=1, progress=False)
    if isinstance(found, UnreadableImage):
        assert found.kind == "broken"
    else:
        assert found.size in ((HEIGHT, WIDTH), (WIDTH, HEIGHT))


@given(
    st.lists(st.sampled_from([b"iCCP", b"zTXt", b"tEXt", b"iTXt", b"eXIf", b"tRNS", b"acTL", b"fcTL", b"gAMA"])),
    st.binary(max_size=40),
)
def test_any_chunks_give_an_image_or_our_error(tmp_path_factory, kinds, content):
    data = png(*[chunk(kind, content) for kind in kinds], after=chunk(b"zTXt", content))
    image_or_refusal(tmp_path_factory.getbasetemp() / "chunks", data, True)


@given(
    st.binary(max_size=60),
    st.sampled_from([True, False, Drawn((WIDTH, HEIGHT), None), Drawn((HEIGHT, WIDTH), (1.0, 12.0))]),
)
def test_any_exif_gives_an_image_or_our_error(tmp_path_factory, content, upright):
    data = jpeg(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + content))
    image_or_refusal(tmp_path_factory.getbasetemp() / "exif", data, upright)


# ---- boxes ----


@pytest.mark.parametrize(
    ("bad", "action", "kind"),
    [
        ((NAN, 4, 6, 12), "dropped", "not finite"),
        ((2, 4, 6, INF), "dropped", "not finite"),
        ((-INF, -INF, INF, INF), "dropped", "not finite"),
        ((6, 4, 2, 12), "dropped", "swapped"),
        ((2, 12, 6, 4), "dropped", "swapped"),
        ((2, 4, 6, 4), "dropped", "without area"),
        ((8, 4, 10, 12), "dropped", "outside the image"),
        ((2, -4, 6, 0), "dropped", "outside the image"),
        ((-2, -4, 10, 20), "clipped", "beyond the image's edge"),
    ],
)
def test_boxes_that_are_none(data, bad, action, kind):
    if isinstance(data, VOC) and kind == "without area":
        bad = (2, 4, 6, 5)  # corners that are included: one pixel more, and the same number twice
    add(data, "a", BOX, bad, (0, 0, 8, 16))
    dataset = load(data)
    assert counts(dataset) == {(action, data.corners_swapped if kind == "swapped" else kind): 1}
    clipped = [[0, 0, 8, 16]] if action == "clipped" else []
    assert boxes_of(dataset, 0) == [[*BOX], *clipped, [0, 0, 8, 16]]


@pytest.mark.parametrize("huge", [1e9, 1e300, 10**400])
def test_huge_boxes(data, huge):
    """In a file of YOLO's they mean pixels where shares should be, and then no number of it can be trusted."""
    add(data, "a", BOX)
    add(data, "b", BOX, *([] if isinstance(data, YOLO) else [(0, 0, 8, huge)]))
    if isinstance(data, YOLO):
        data.write("b", f"0 0.5 0.5 0.5 0.5\n0 0.5 0.5 {huge} 0.5\n".encode())
    if huge == 10**400:
        expected = ("dropped", "not finite")
    else:
        expected = ("skipped", "not normalised") if isinstance(data, YOLO) else ("clipped", "beyond the image's edge")
    dataset = load(data)
    assert counts(dataset) == {expected: 1}
    assert boxes_of(dataset, 0) == [[*BOX]]


def test_thousands_of_boxes(data):
    """The largest 100 stay, and the report says which number would keep all of them."""
    boxes = [(0, 0, 3 + n / 500, 16) for n in range(2000)]
    add(data, "a", *boxes)
    dataset = load(data)
    assert dataset.report.objects == 100
    assert counts(dataset)["dropped", "over max_objects"] == len(boxes) - 100
    assert any(f"max_objects={len(boxes)} keeps all" in problem.detail for problem in dataset.report.problems)
    np.testing.assert_allclose(boxes_of(dataset, 0), boxes[-100:], atol=1e-4)
    assert load(data, max_objects=len(boxes)).report.objects == len(boxes)


def test_an_image_without_boxes_is_kept(data):
    add(data, "a", BOX)
    add(data, "b")
    dataset = load(data)
    assert (dataset.ids, counts(dataset)) == (("a", "b"), {("noted", "without objects"): 1})


CORNERS = st.tuples(*[st.integers(-2, 10), st.sampled_from([-4, -3, -2, *range(17), 18, 20])] * 2)


@given(st.lists(CORNERS.filter(lambda box: not {-1, 9} & {*box[::2]}), max_size=6))
def test_any_boxes_survive_alike(tmp_path_factory, boxes):
    """But for those of one pixel, which VOC writes with the same corner twice, and one pixel over the edge."""
    boxes = [box for box in boxes if box[2] - box[0] not in (0, 1) and box[3] - box[1] not in (0, 1)]
    found = []
    for make in FORMATS:
        data = make(tmp_path_factory.mktemp("data") / "data")
        add(data, "a", *boxes)
        dataset = load(data)
        kinds = counts(dataset)
        swapped = kinds.pop(("dropped", data.corners_swapped), 0)
        found.append((boxes_of(dataset, 0), swapped, kinds))
    assert found[0] == found[1] == found[2]
    dropped = sum(found[0][2].get(("dropped", kind), 0) for kind in ("outside the image", "repeated"))
    assert len(found[0][0]) + found[0][1] + dropped == len(boxes)


# ---- annotations and names ----


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (VOC, b""),
        (VOC, b"<annotation><object>"),
        (VOC, b"<annotation>" + b" " * 2000 + b"</annotation>"),
        (VOC, b"<annotation><folder>\xff</folder></annotation>"),
        (YOLO, b"0 0.5 0.5 0.5 0.5\xff"),
        (YOLO, b"\n" * 2000),
    ],
)
def test_malformed_annotations(tmp_path, monkeypatch, make, content):
    monkeypatch.setattr(files, "MAX_ANNOTATION_BYTES", 1000)
    data = make(tmp_path / "data")
    add(data, "a", BOX)
    add(data, "bad", BOX)
    data.write("bad", content)
    dataset = load(data)
    assert (dataset.ids, counts(dataset)) == (("a",), {("skipped", "malformed annotation"): 1})
    assert "bad" in dataset.report.problems[0].file


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE a [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_not_expanded_or_fetched(tmp_path, document, encoding):
    data = VOC(tmp_path / "data")
    add(data, "a", BOX)
    add(data, "bad", BOX)
    data.write("bad", f"{document}<annotation><object><name>&c;</name></object></annotation>".encode(encoding))
    dataset = load(data)
    assert (dataset.ids, counts(dataset)) == (("a",), {("skipped", "forbidden annotation"): 1})


@pytest.mark.parametrize("name", ["größe 猫", "e\u0301", "new\nline", "tab\tbell\a", "\udcff\udcfe", "it's #1 ~", "-x"])
def test_any_names_are_read_and_reported(data, tmp_path, name):
    """Also bytes of no encoding; the cache and the report file can hold all of them."""
    add(data, "a", BOX)
    add(data, name, BOX)
    add(data, name + "!", BOX, image=b"")
    for _ in ("built", "from the cache"):
        dataset = load(data, cache_dir=tmp_path / "cache")
        assert set(dataset.ids) == {"a", name}
        assert counts(dataset) == {("skipped", "broken"): 1}
        assert dataset.fingerprint
    dataset.report.write(tmp_path / "report.json")
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (record["images"], len(record["problems"])) == (2, 1)


def test_links_in_a_circle_end(data):
    add(data, "a", BOX)
    os.symlink(".", data.pictures / "again")
    os.symlink("..", data.pictures / "above")
    assert load(data).report.summary() == "1 image, 1 object"


@pytest.mark.parametrize("name", ["car\x9b2J", "ca\nr", "car\x7f"])
def test_class_names_that_cannot_be_printed(tmp_path, name):
    """XML has no NUL and no escape, but all control characters from 0x7F on, and line ends."""
    data = VOC(tmp_path / "data")
    data.annotate("bad", [BOX], class_name=name.encode("ascii", "xmlcharrefreplace").decode())
    with pytest.raises(ValueError, match=r"bad\.xml has a class name that cannot be printed"):
        data.source().class_names(["bad"])


def test_numbers_that_have_one_hash(tmp_path):
    """A dictionary of multiples of 2**61 - 1 would compare each with each."""
    data = COCO(tmp_path / "data")
    add(data, "a", BOX)
    others = [{"id": (n + 8) * (2**61 - 1), "file_name": "b.jpg"} for n in range(3000)]
    data.content["images"] += others
    assert counts(load(data)) == {("skipped", "missing"): 3000}  # as text they differ
    data.content["images"] = data.content["images"][:1]
    data.content["annotations"] += [
        {"image_id": other["id"], "category_id": 7, "bbox": [1, 1, 2, 2]} for other in others
    ]
    assert counts(load(data)) == {("dropped", "unknown image"): 3000}


def test_entries_that_are_there_twice(tmp_path):
    """The last key of an object counts, as everywhere; numbers beyond a double are infinite."""
    data = COCO(tmp_path / "data")
    add(data, "a", BOX)
    text = json.dumps(data.content).replace('"images"', '"images": 3, "images"').replace('"id": 0', '"id": 5, "id": 0')
    data.source().path.write_text(text.replace('"bbox"', '"bbox": [1e400, -1e400, 1, 1], "bbox"'))
    source = COCOJson(data.root / "all.json", data.pictures)
    dataset = build_dataset(source, source.all_ids(), image_size=8, class_names=("car",), progress=False)
    assert (boxes_of(dataset, 0), counts(dataset)) == ([[*BOX]], {})


def test_images_that_nothing_is_said_about(tmp_path):
    """Where no split says what is meant they are counted: VOC skips them, YOLO keeps them; COCO's file is a list."""
    found = {}
    for make in FORMATS:
        data = make(tmp_path / make.__name__)
        add(data, "a", BOX)
        (data.pictures / "b.jpg").write_bytes(GOOD)
        found[make] = counts(load(data))
    assert found == {
        VOC: {("skipped", "without annotation"): 1},
        COCO: {},
        YOLO: {("noted", "without label file"): 1, ("noted", "without objects"): 1},
    }
    (tmp_path / "VOC/ImageSets/Main").mkdir(parents=True)
    (tmp_path / "VOC/ImageSets/Main/train.txt").write_text("a\n")
    assert VOCFolder(tmp_path / "VOC").all_ids() == ("a",)


# ---- by the commands ----

ROOT = Path(__file__).parents[2]
TINY = [
    *("--backbone", "resnet_tiny", "--image-size", "32", "--head-width", "8", "--batch-size", "4"),
    *("--grids", "2", "1", "--epochs", "1", "--augment", "none"),
]


@pytest.fixture(scope="module")
def train():
    """The script as a module; it stays known under its name, where its type hints are looked up."""
    spec = importlib.util.spec_from_file_location("train_command", ROOT / "train.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("boxes", [[], [(2, 4, 6, 4)]])
def test_no_boxes_at_all(data, train, cache, tmp_path, boxes):
    for name in "abc":
        add(data, name, *boxes)
    with pytest.raises(SystemExit, match=r"data.*(hold no object|no training image has an object)"):
        train.main(["quick", *data.arguments(), *TINY, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_nothing_but_difficult_objects(train, cache, tmp_path):
    data = COCO(tmp_path / "data")
    for name in "abc":
        add(data, name, BOX)
    for annotation in data.content["annotations"]:
        annotation["iscrowd"] = 1
    with pytest.raises(SystemExit, match=r"all\.json: no training image has an object that is trained on"):
        train.main(["quick", *data.arguments(), *TINY, "--out", str(tmp_path / "run")])


def test_empty_splits(data, train, cache, tmp_path):
    add(data, "a", BOX)
    if isinstance(data, VOC):
        (data.root / "ImageSets/Main").mkdir(parents=True)
        (data.root / "ImageSets/Main/train.txt").write_text("a\n")
        (data.root / "ImageSets/Main/empty.txt").write_text("\n")
        expected = r"empty\.txt names no image"
    elif isinstance(data, COCO):
        (data.root / "empty.json").write_text(json.dumps({**data.content, "images": []}))
        expected = r"empty\.json has an empty list images"
    else:
        (data.pictures / "empty").mkdir()
        expected = r"data has no split 'empty'"
    arguments = [*data.arguments(), *TINY, "--val-split", "empty", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=expected):
        train.main(["quick", *arguments])


def test_a_run_counts_everything(train, cache, tmp_path, capsys):
    """One class only, and faults of many kinds: whatever there is a file of is an image of the run, or skipped."""
    data = VOC(tmp_path / "data")
    for number in range(10):
        add(data, f"good {number}", BOX, (6, 4, 2, 12), (-2, -4, 8, 16))
    for fault in ("empty", "PNG cut short", "PNG bomb"):
        add(data, fault, BOX, image=UNREADABLE[fault][0])
    add(data, "gone", BOX, image=None)
    add(data, "malformed", BOX)
    data.write("malformed", b"<annotation>")
    add(data, "expanding", BOX)
    data.write("expanding", b'<!DOCTYPE a [<!ENTITY a "aa">]><annotation>&a;</annotation>')
    (data.pictures / "unsaid.jpg").write_bytes(GOOD)
    add(data, "without boxes")
    everything = data.source().all_ids()
    assert len(everything) == 18

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # nearly all of the time is compilation
    try:
        train.main(["quick", *data.arguments(), *TINY, "--out", str(tmp_path / "run")])
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "no validation split found, there are no splits: 20 % of all images, 3 of 18, are held out"
    )
    actions: Counter = Counter()
    files = 0
    for split in ("train", "val"):
        record = json.loads((tmp_path / "run" / f"loading-{split}.json").read_text())
        assert f"{split}: {record['summary']}" in lines
        actions.update((problem["action"], problem["kind"]) for problem in record["problems"])
        files += record["images"] + sum(problem["action"] == "skipped" for problem in record["problems"])
    assert files == len(everything)
    assert actions == {
        ("skipped", "broken"): 2,
        ("skipped", "oversized"): 1,
        ("skipped", "missing"): 1,
        ("skipped", "malformed annotation"): 1,
        ("skipped", "forbidden annotation"): 1,
        ("skipped", "without annotation"): 1,
        ("dropped", "swapped corners"): 10,
        ("clipped", "beyond the image's edge"): 10,
        ("noted", "without objects"): 1,
    }
    assert json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]["classes"] == ["car"]
    assert "AP area" in "\n".join(lines)
