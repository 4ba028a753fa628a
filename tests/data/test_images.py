import io
import struct
import warnings
import zlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from jaxssd.data.images import MAX_PIXELS, UnreadableImage, decode, decode_all

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
    pixels, size = decode(path, 8)
    assert size == (20, 40)
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


def test_the_fast_path_for_large_jpegs_costs_no_quality(tmp_path):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    (tmp_path / "a.jpg").write_bytes(encoded(image, "JPEG", quality=95))
    full = Image.open(tmp_path / "a.jpg").resize((64, 64), Image.Resampling.BILINEAR)
    pixels, size = decode(tmp_path / "a.jpg", 64)
    assert size == (600, 800)
    assert np.abs(pixels.astype(int) - np.asarray(full)).mean() < 2


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
        ((20, 40), (20, 40), 90),  # as it is stored
        ((40, 20), (40, 20), 40),  # as it is when it is turned
        ((7, 9), (20, 40), 90),  # neither
    ],
)
@pytest.mark.parametrize("scale", [1, 16])
def test_exif_orientation_is_applied_if_the_boxes_are_upright(tmp_path, upright, size, top_right, scale):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to show"
    (tmp_path / "a.jpg").write_bytes(encoded(corners(40 * scale, 20 * scale), "JPEG", exif=exif))
    told = upright if isinstance(upright, bool) else tuple(scale * side for side in upright)
    pixels, found = decode(tmp_path / "a.jpg", 8, upright=told)
    assert found == tuple(scale * side for side in size)
    np.testing.assert_allclose(pixels[1, 6], top_right, atol=4)


def test_a_square_is_not_turned_by_its_stated_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(corners(20, 20), "JPEG", exif=exif))
    np.testing.assert_array_equal(
        decode(tmp_path / "a.jpg", 8, upright=(20, 20))[0], decode(tmp_path / "a.jpg", 8, upright=False)[0]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        encoded(corners(), "GIF"),
        encoded(corners(200, 200), "JPEG")[:-300],
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


SMALL_FILES = {name: encoded(corners(), name) for name in ("PNG", "JPEG")}


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
    (size,) = decode_all([path], out, workers=1, progress=False)
    assert isinstance(size, UnreadableImage) or (len(size) == 2 and min(size) > 0)


@pytest.mark.parametrize("workers", [1, 4, None])
def test_decode_all_fills_the_rows_in_order(tmp_path, workers):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(Image.new("RGB", (10 + i, 5), (i, i, i)), "PNG"))
    paths[7].write_bytes(b"broken")
    out = np.full((20, 4, 4, 3), 250, np.uint8)
    sizes = decode_all(paths, out, workers=workers, progress=True)
    assert isinstance(sizes.pop(7), UnreadableImage)
    assert sizes == [(5, 10 + i) for i in range(20) if i != 7]
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
        assert decode_all([tmp_path / "a.jpg"], np.zeros((1, 8, 8, 3), np.uint8), progress=False) == [(20, 40)]
    assert not seen
    assert list(warnings.filters) == filters
