import io
import struct
import warnings
import zlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from jaxssd.data import image_limits
from jaxssd.data.image_limits import MAX_PIXELS, UnreadableImage
from jaxssd.data.images import (
    Decoded,
    Drawn,
    decode,
    decode_all,
    decode_photograph,
    find_fit,
    stored_size,
)

RED = (200, 30, 10)


def corners(width=40, height=20):
    """Four quadrants of different grey, so that a flip, a turn or swapped axes show."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for (row, column), value in {(0, 0): 40, (0, 1): 90, (1, 0): 150, (1, 1): 220}.items():
        rows, columns = slice(row * height // 2, None), slice(column * width // 2, None)
        pixels[rows, columns] = value
    return Image.fromarray(pixels)


def encoded(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def claimed_size(image_format, width, height):
    """A small file whose header claims another size."""
    data = encoded(Image.new("RGB", (8, 8)), image_format)
    if image_format == "PNG":
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "misnamed.txt", "ein größeres Bild.png"])
def test_squashes_and_gives_the_original_size(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encoded(corners(), "JPEG" if "j" in name.lower() else "PNG"))
    pixels, decoded = decode(path, 8)
    assert decoded.size == (20, 40)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    for (y, x), value in {(1, 1): 40, (1, 6): 90, (6, 1): 150, (6, 6): 220}.items():
        np.testing.assert_allclose(pixels[y, x], value, atol=4)


def test_an_image_of_the_target_size_is_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 16)[0], pixels)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_shrinking_averages(tmp_path, image_format):
    checkers = np.indices((128, 128)).sum(0) % 2 * 255
    image = Image.fromarray(checkers.astype(np.uint8))
    (tmp_path / "a").write_bytes(encoded(image, image_format))
    np.testing.assert_allclose(decode(tmp_path / "a", 8)[0], 127.5, atol=4)


@pytest.mark.parametrize("size", [64, 200])
def test_the_fast_path_for_large_jpegs_costs_no_quality(tmp_path, size):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    (tmp_path / "a.jpg").write_bytes(encoded(image, "JPEG", quality=95))
    full = Image.open(tmp_path / "a.jpg").resize((size, size), Image.Resampling.BILINEAR)
    pixels, decoded = decode(tmp_path / "a.jpg", size)
    assert decoded.size == (600, 800)
    assert np.abs(pixels.astype(int) - np.asarray(full)).mean() < 2


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_is_the_middle_square(tmp_path, turned):
    pixels = np.full((20, 40, 3), 200, np.uint8)
    pixels[:, 10:30], pixels[:, 10:20] = 100, 50
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(pixels.swapaxes(0, 1) if turned else pixels), "PNG"))
    found = decode(tmp_path / "a.png", 20, "crop")[0]
    np.testing.assert_array_equal(found.swapaxes(0, 1) if turned else found, pixels[:, 10:30])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photograph_is_seen_as_a_person_sees_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.png").write_bytes(encoded(corners(), "PNG", exif=exif))
    square, photograph = decode_photograph(tmp_path / "a.png", 8)
    pixels, decoded = decode(tmp_path / "a.png", 8, upright=True)
    assert photograph.shape == (40, 20, 3)
    assert decoded.size == (40, 20)
    np.testing.assert_array_equal(square, pixels)
    top_left = {5: 40, 6: 150, 7: 220, 8: 90}[orientation]  # by EXIF: which stored corner is the first one shown
    np.testing.assert_array_equal(photograph[1, 1], top_left)
    np.testing.assert_array_equal(square[1, 1], top_left)


def test_a_file_of_too_many_bytes_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(corners(), "PNG"))
    monkeypatch.setattr(image_limits, "MAX_BYTES", 50)
    with pytest.raises(UnreadableImage, match="bytes, the limit is 50") as raised:
        decode(tmp_path / "a.png", 8)
    assert raised.value.kind == "oversized"


def test_the_fast_path_leaves_jpegs_alone_that_are_not_large(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(Image.effect_noise((200, 200), 80).convert("RGB"), "JPEG", quality=95))
    full = Image.open(tmp_path / "a.jpg").resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg", 64)[0], full)


def palette(transparent):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED] + [7] * 762)
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "image_format", "expected"),
    [
        (Image.new("RGB", (8, 8), RED), "PNG", RED),
        (Image.new("L", (8, 8), 77), "PNG", (77, 77, 77)),
        (Image.new("L", (8, 8), 77), "JPEG", (77, 77, 77)),
        (Image.new("1", (8, 8), 1), "PNG", (255, 255, 255)),
        (palette(transparent=False), "PNG", RED),
        (palette(transparent=True), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (*RED, 255)), "PNG", RED),
        (Image.new("RGBA", (8, 8), (*RED, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (100, 50, 0, 51)), "PNG", (224, 214, 204)),  # 20 % over white
        (Image.new("LA", (8, 8), (77, 255)), "PNG", (77, 77, 77)),
        (Image.new("LA", (8, 8), (77, 0)), "PNG", (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 0x8042, np.uint16)), "PNG", (128, 128, 128)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
    ],
)
@pytest.mark.parametrize("size", [8, 5])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, image, image_format, expected, size):
    (tmp_path / "a").write_bytes(encoded(image, image_format))
    pixels, _ = decode(tmp_path / "a", size)
    np.testing.assert_allclose(pixels, np.broadcast_to(expected, (size, size, 3)), atol=2)


@pytest.mark.parametrize(
    ("upright", "size", "top_right"),
    [
        (False, (20, 40), 90),
        (True, (40, 20), 40),
        (Drawn((20, 40), None), (20, 40), 90),  # as it is stored
        (Drawn((40, 20), None), (40, 20), 40),  # as it is when it is turned
        (Drawn((7, 9), None), (20, 40), 90),  # neither
        (Drawn(None, (39.0, 20.0)), (40, 20), 40),  # boxes that the stored picture does not hold
        (Drawn(None, (20.0, 39.0)), (20, 40), 90),  # boxes that the turned one does not hold
        (Drawn((20, 40), (39.0, 19.0)), (40, 20), 40),  # the stored size, with boxes of the turned picture
        (Drawn(None, (10.0, 10.0)), (20, 40), 90),  # boxes that both hold
    ],
)
@pytest.mark.parametrize(("image_format", "scale"), [("JPEG", 1), ("JPEG", 16), ("TIFF", 1), ("PNG", 1)])
def test_exif_orientation_is_applied_if_the_boxes_are_upright(tmp_path, upright, size, top_right, image_format, scale):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to show"
    (tmp_path / "a.jpg").write_bytes(encoded(corners(40 * scale, 20 * scale), image_format, exif=exif))
    if not isinstance(upright, bool):
        stated, extent = (value and tuple(scale * side for side in value) for value in upright)
        upright = Drawn(stated, extent)
    pixels, found = decode(tmp_path / "a.jpg", 8, upright=upright)
    assert found.size == tuple(scale * side for side in size)
    np.testing.assert_allclose(pixels[1, 6], top_right, atol=4)


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_orientations_are_the_same_in_every_format(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = corners()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    for image_format in ("PNG", "TIFF"):
        (tmp_path / image_format).write_bytes(encoded(image, image_format, exif=exif))
    assert stored_size(tmp_path / "TIFF") == (20, 40)
    for upright in (False, True, Drawn(None, (39.0, 9.0)), Drawn(None, None)):
        png, tiff = (decode(tmp_path / name, 8, upright=upright) for name in ("PNG", "TIFF"))
        np.testing.assert_array_equal(png[0], tiff[0])
        assert png[1] == tiff[1]
        turned = upright is True or (orientation in (5, 6, 7, 8) and upright == Drawn(None, (39.0, 9.0)))
        first = {2: 90, 3: 220, 4: 150, 6: 150, 7: 220, 8: 90}.get(orientation, 40)  # the corner that comes first
        assert tiff[0][1, 1, 0] == (first if turned else 40)


def test_a_square_is_not_turned_by_its_stated_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(corners(20, 20), "JPEG", exif=exif))
    np.testing.assert_array_equal(
        decode(tmp_path / "a.jpg", 8, upright=Drawn((20, 20), None))[0], decode(tmp_path / "a.jpg", 8, upright=False)[0]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        encoded(corners(), "PCX"),
        encoded(Image.effect_noise((99, 99), 50), "JPEG")[:-3000],
        encoded(Image.effect_noise((99, 99), 50), "PNG")[:-900],
        encoded(corners(), "PNG").replace(b"IDAT", b"IDAX"),
    ],
)
def test_broken_files(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage) as raised:
        decode(tmp_path / "a.jpg", 8)
    assert raised.value.kind == "broken"


def test_a_missing_file(tmp_path):
    with pytest.raises(UnreadableImage) as raised:
        decode(tmp_path / "a.jpg", 8)
    assert raised.value.kind == "missing"


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(8001, 8000), (12_000, 9_000), (60_000, 60_000)])  # around both of Pillow's limits
def test_too_many_pixels_are_refused_by_the_header(tmp_path, image_format, shape):
    (tmp_path / "a").write_bytes(claimed_size(image_format, *shape))
    with pytest.raises(UnreadableImage, match=f"{shape[0]}x{shape[1]} pixels, the limit is {MAX_PIXELS:,}") as raised:
        decode(tmp_path / "a", 8)
    assert raised.value.kind == "oversized"


SMALL_FILES = {name: encoded(corners(), name) for name in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")}


@given(
    st.sampled_from(sorted(SMALL_FILES)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_gives_an_image_or_our_error(tmp_path_factory, image_format, changes):
    data = bytearray(SMALL_FILES[image_format])
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    out = np.zeros((1, 8, 8, 3), np.uint8)
    (found,) = decode_all([path], out, workers=1, progress=False)
    assert isinstance(found, UnreadableImage) or min(found.size) > 0


@pytest.mark.parametrize("workers", [1, 4, None])
def test_decode_all_fills_the_rows_in_order(tmp_path, workers):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(Image.new("RGB", (10 + i, 5), (i, i, i)), "PNG"))
    paths[7].write_bytes(b"broken")
    out = np.full((20, 4, 4, 3), 250, np.uint8)
    sizes = decode_all(paths, out, workers=workers, progress=True)
    assert isinstance(sizes.pop(7), UnreadableImage)
    assert sizes == [Decoded((5, 10 + i)) for i in range(20) if i != 7]
    np.testing.assert_array_equal(out, np.where(np.arange(20) == 7, 250, np.arange(20))[:, None, None, None] + 0 * out)


def test_remarks_on_metadata_stay_inside(tmp_path):
    plain = encoded(corners(), "JPEG")
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\x00\x12\x01"  # claims 255 entries and has none
    at = plain.index(b"\xff\xdb")
    (tmp_path / "a.jpg").write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[at:])
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(tmp_path / "a.jpg").load()
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        assert decode_all([tmp_path / "a.jpg"], np.zeros((1, 8, 8, 3), np.uint8), progress=False) == [Decoded((20, 40))]
    assert not seen
    assert list(warnings.filters) == filters


FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "MPO")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_the_content_tells_the_format(tmp_path, image_format, name):
    options = {"save_all": True, "append_images": [Image.new("RGB", (40, 20))]} if image_format == "MPO" else {}
    (tmp_path / name).write_bytes(encoded(corners(), image_format, **options))
    pixels, decoded = decode(tmp_path / name, 8)
    assert decoded == Decoded((20, 40))
    for (y, x), value in {(1, 1): 40, (1, 6): 90, (6, 1): 150, (6, 6): 220}.items():
        np.testing.assert_allclose(pixels[y, x], value, atol=6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>", "text, such as the page that a failed download leaves"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS, which `git lfs pull` replaces"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "HEIC or AVIF"),
        (b"\0\0\0\x18ftypmp42", "a film"),
        (b"P6 40 20 255\n", "PPM"),
        (encoded(corners(), "JPEG2000"), "JPEG 2000"),
    ],
)
def test_what_is_no_image_is_told_what_it_looks_like(tmp_path, content, expected):
    (tmp_path / "a.jpg").write_bytes(content)
    (found,) = decode_all([tmp_path / "a.jpg"], np.zeros((1, 8, 8, 3), np.uint8), progress=False)
    assert isinstance(found, UnreadableImage)
    assert found.kind == "broken"
    assert expected in str(found)


@pytest.mark.parametrize("image_format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_picture_of_several_is_taken(tmp_path, image_format):
    first, *others = (Image.new("RGB", (8, 8), (value, value, value)) for value in (10, 120, 250))
    (tmp_path / "a").write_bytes(encoded(first, image_format, save_all=True, append_images=others))
    np.testing.assert_allclose(decode(tmp_path / "a", 8)[0], 10, atol=2)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "jpeg"])
def test_tiff_by_any_compression_turned_as_it_says(tmp_path, compression):
    exif = Image.Exif()
    exif[0x0112] = 6
    for turn, size, top_right in ((None, (20, 40), 90), (exif, (40, 20), 40)):
        options = {"exif": turn} if turn else {}
        (tmp_path / "a.tif").write_bytes(encoded(corners(), "TIFF", compression=compression, **options))
        pixels, decoded = decode(tmp_path / "a.tif", 8, upright=bool(turn))
        assert decoded.size == size
        np.testing.assert_allclose(pixels[1, 6], top_right, atol=6)


@pytest.mark.parametrize("share", [0.98, 0.7])
@pytest.mark.parametrize("size", [8, 400])  # with and without the fast path
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_repaired(tmp_path, share, size, progressive):
    image = Image.effect_noise((320, 320), 80).convert("RGB")
    data = encoded(image, "JPEG", quality=95, progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data)
    whole, decoded = decode(tmp_path / "a.jpg", size)
    assert decoded.notes == ()
    (tmp_path / "a.jpg").write_bytes(data[: int(share * len(data))])
    pixels, decoded = decode(tmp_path / "a.jpg", size)
    (note,) = decoded.notes
    assert note.startswith("repaired: the JPEG ends early, ")
    if not progressive:
        there = int(share * size) - size // 10
        np.testing.assert_allclose(pixels[:there], whole[:there], atol=1)
        assert abs(int(note.split()[5].rstrip("%")) / 100 - share) < 0.1


@pytest.mark.parametrize("cut", [6, 30])
@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [8, 400])
def test_a_jpeg_that_ends_in_one_colour_keeps_it(tmp_path, cut, colour, progressive, size):
    image = Image.effect_noise((320, 320), 80).convert("RGB")
    image.paste((colour, colour, colour), (0, 80, 320, 320))
    data = encoded(image, "JPEG", progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data[:-cut])
    pixels, decoded = decode(tmp_path / "a.jpg", size)
    (note,) = decoded.notes
    assert int(note.split()[5].rstrip("%")) >= 95
    np.testing.assert_allclose(pixels[size * 3 // 8 : size * 9 // 10], colour, atol=2)


def test_a_progressive_jpeg_cut_in_its_first_scan_has_the_rows_of_it(tmp_path):
    data = encoded(Image.effect_noise((320, 320), 80).convert("RGB"), "JPEG", progressive=True)
    first, second = (data.index(b"\xff\xda", start) for start in (0, data.index(b"\xff\xda") + 1))
    (tmp_path / "a.jpg").write_bytes(data[: first + int(0.75 * (second - first))])
    (note,) = decode(tmp_path / "a.jpg", 8)[1].notes
    assert 65 <= int(note.split()[5].rstrip("%")) <= 85
    (tmp_path / "a.jpg").write_bytes(data[: first + int(0.3 * (second - first))])
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(tmp_path / "a.jpg", 8)


def test_a_jpeg_of_which_less_than_half_is_there_is_broken(tmp_path):
    data = encoded(Image.effect_noise((320, 320), 80), "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(data[: int(0.4 * len(data))])
    with pytest.raises(UnreadableImage, match="truncated") as raised:
        decode(tmp_path / "a.jpg", 8)
    assert raised.value.kind == "broken"


def deep_png(values):
    """16 bits a channel, `[H, W, channels]`, which Pillow does not write: by hand, without filters."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def deep_tiff(values, order="<", compression=1, extra=2):
    """The same as a TIFF, in either order of bytes; `extra` is what its fourth channel means."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if compression == 8 else pixels
    tags = [(256, width), (257, height), (258, 16), (259, compression), (262, 2), (273, 300), (274, 1)]
    tags += [(277, channels), (278, height), (279, len(pixels))] + [(338, extra)] * (channels == 4)
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 3, channels, 200)  # its values stand below
        if tag == 258
        else struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)
        for tag, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags)) + entries
    return (head.ljust(200, b"\0") + struct.pack(f"{order}H", 16) * channels).ljust(300, b"\0") + pixels


DEEP = [(deep_png, channels, ()) for channels in (1, 2, 3, 4)]
DEEP += [(deep_tiff, channels, (order, way)) for channels in (3, 4) for order in "<>" for way in (1, 8)]


@pytest.mark.parametrize(("write", "channels", "options"), DEEP)
@pytest.mark.parametrize(("bits", "kind"), [(8, "of 8 bits in 16"), (10, "of 10 bits in 16"), (12, "of 12 bits in 16")])
def test_few_bits_in_sixteen_are_not_black(tmp_path, write, channels, options, bits, kind):
    values = np.full((8, 8, channels), (1 << bits) - 1, np.uint16)
    values[:4, :, : 1 if channels < 3 else 3] //= 2
    (tmp_path / "a.png").write_bytes(write(values, *options))
    pixels, decoded = decode(tmp_path / "a.png", 8)
    np.testing.assert_allclose(pixels[4:], 255, atol=1)
    np.testing.assert_allclose(pixels[:4], 127, atol=1)
    assert [note.split(":")[0] for note in decoded.notes] == [kind]


@pytest.mark.parametrize(("write", "channels", "options"), [entry for entry in DEEP if entry[1] in (2, 4)])
def test_transparency_of_few_bits_is_white(tmp_path, write, channels, options):
    values = np.full((8, 8, channels), 1000, np.uint16)
    for alpha, expected in ((65535, 1000 >> 2), (4095, 1000 >> 2), (0, 255)):
        values[4:, :, -1] = alpha
        values[:4, :, -1] = 65535 if alpha == 65535 else 4095
        (tmp_path / "a").write_bytes(write(values, *options))
        pixels, _ = decode(tmp_path / "a", 8)
        np.testing.assert_allclose(pixels[4:], expected, atol=1)
        np.testing.assert_allclose(pixels[:4], 1000 >> 2, atol=1)


def test_what_stays_dark_is_said(tmp_path):
    values = np.full((8, 8, 4), 4095, np.uint16)
    values[..., 3] = 65535
    (tmp_path / "a").write_bytes(deep_tiff(values, extra=1))  # colours multiplied by alpha
    (note,) = decode(tmp_path / "a", 8)[1].notes
    assert note.startswith("dark: of 16 bits")


@pytest.mark.parametrize(("write", "channels", "options"), DEEP)
def test_sixteen_bits_keep_their_upper_eight(tmp_path, write, channels, options):
    values = np.full((8, 8, channels), 0xFFFF, np.uint16)
    values[:4, :, : 1 if channels < 3 else 3] = 0x40FF
    (tmp_path / "a.png").write_bytes(write(values, *options))
    pixels, decoded = decode(tmp_path / "a.png", 8)
    np.testing.assert_array_equal(pixels[0], np.full((8, 3), 0x40))
    np.testing.assert_array_equal(pixels[7], np.full((8, 3), 255))
    assert decoded.notes == ()


def test_a_dark_picture_of_eight_bits_stays_dark(tmp_path):
    for mode, color in (("RGB", (9, 3, 12)), ("L", 9)):
        (tmp_path / "a.png").write_bytes(encoded(Image.new(mode, (8, 8), color), "PNG"))
        pixels, decoded = decode(tmp_path / "a.png", 8)
        np.testing.assert_array_equal(pixels[0, 0], np.broadcast_to(color, 3))
        assert decoded.notes == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.5, 1.0, np.nan]]), [0, 127, 255, 0]),
        (np.float32([[0, 100, 200, np.inf]]), [0, 100, 200, 0]),
        (np.float32([[0, 500, 1000, -3]]), [0, 127, 255, 0]),
        (np.int32([[0, 500_000, 1_000_000, -3]]), [0, 127, 255, 0]),
        (np.int32([[0, 0x80FF, 0xFFFF, -3]]), [0, 0x80, 255, 0]),
    ],
)
def test_numbers_of_tiff_are_scaled_by_what_is_there(tmp_path, values, expected):
    (tmp_path / "a.tif").write_bytes(encoded(Image.fromarray(np.repeat(values, 4, axis=0)), "TIFF"))
    pixels, _ = decode(tmp_path / "a.tif", 4)
    np.testing.assert_allclose(pixels[0, :, 0], expected, atol=1)


def test_a_png_with_a_large_profile_and_much_text_is_read(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("notes", "x" * 3_000_000, zip=True)
    profile = np.random.default_rng(0).bytes(2_000_000)
    (tmp_path / "a.png").write_bytes(encoded(corners(), "PNG", pnginfo=info, icc_profile=profile))
    assert decode(tmp_path / "a.png", 8)[1].size == (20, 40)


def test_nothing_tells_of_numbers_that_are_no_pixels():
    assert find_fit((10, 20), Drawn(None, None)) == "either"
    assert find_fit((10, 20), Drawn((20, 10), (5.0, 20.0))) == "shown"  # the annotation's word comes first
    assert find_fit((10, 20), Drawn((10, 20), (5.0, 9.0))) == "stored"
    assert find_fit((10, 20), Drawn((10, 20), (15.0, 9.0))) == "shown"
    assert find_fit((10, 20), Drawn((10, 20), None)) == "stored"
    assert find_fit((10, 20), Drawn((7, 7), (5.0, 9.0))) == "either"
    assert find_fit((10, 10), Drawn((10, 10), (5.0, 9.0))) == "either"
    assert find_fit((10, 20), Drawn(None, (10.5, 20.9))) == "stored"  # a pixel beyond the edge is careless drawing
