"""Shapes: a generated detection data set, to run the trainer without a download.

An image holds 0-8 overlapping objects of six classes, each with its own size, squash, rotation, pair of colours and
texture, on a background of colour gradients, noise and stray strokes. Colour and texture do not depend on the class,
objects overlap one another, and strokes are as sharp as outlines.

Scenes are sampled with NumPy, which gives the same numbers on every machine, and painted by one jitted function.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.report import LoadReport
from jaxssd.ops.arrays import ArrayLike, Size, as_pair

CLASS_NAMES = ("circle", "cross", "ring", "square", "star", "triangle")
MAX_OBJECTS = 8
MIN_VISIBLE = 0.3  # an object with a smaller visible share is difficult: neither trained on nor scored
EXTENT = (0.18, 0.45)  # length of an object as a share of the image
SQUASH = (0.7, 1.0)  # its width over its length
NUM_STROKES = 6
CANDIDATES = 4  # sampled places of an object, which takes the one with the most room
BATCH = 50


class Layers(NamedTuple):
    """L layers, later ones on top."""

    center: Float[ArrayLike, "L 2"]
    half_size: Float[ArrayLike, "L 2"]
    angle: Float[ArrayLike, " L"]
    colors: Float[ArrayLike, "L 2 3"]
    texture: Int[ArrayLike, " L"]
    frequency: Float[ArrayLike, " L"]
    outline: Int[ArrayLike, " L"]


class Scene(NamedTuple):
    """One image before it is painted: every sampled number."""

    objects: Layers
    valid: Bool[ArrayLike, " L"]
    strokes: Layers
    gradient: Float[ArrayLike, "3 3 3"]
    blotches: Float[ArrayLike, "12 12 3"]
    noise: Float[ArrayLike, "H W 3"]


def make_shapes(num_images: int, *, image_size: Size, seed: int = 0) -> Dataset:
    """Draw a data set. A seed always gives the same pictures, and a longer set begins with the shorter one.

    Args:
        num_images: number of images.
        image_size: one side of the pictures in pixels, or height and width; then the square pictures are squashed.
        seed: seed of the set; a validation set has another one than its training set.

    Returns:
        The data set. Objects of which less than 30 % is visible are difficult.

    Raises:
        ValueError: if `num_images` or `image_size` is not positive.

    Example:
        >>> shapes = make_shapes(3, image_size=32)
        >>> shapes.examples.images.shape, shapes.examples.boxes.shape
        ((3, 32, 32, 3), (3, 8, 4))
    """
    shape = as_pair(image_size)
    for name, value in (("num_images", num_images), ("image_size", min(shape))):
        if value < 1:
            raise ValueError(f"make_shapes: `{name}` is {value}, expected a positive number")
    batches = []
    for start in range(0, num_images, BATCH):  # always the same shape: one compilation for sets of any length
        scenes = [_sample_scene(np.random.default_rng([seed, start + i]), shape) for i in range(BATCH)]
        batches.append(jax.device_get(_paint_all(jax.tree.map(lambda *parts: np.stack(parts), *scenes))))
    examples = jax.tree.map(lambda *parts: np.concatenate(parts)[:num_images], *batches)
    return Dataset(
        examples=examples,
        class_names=CLASS_NAMES,
        ids=tuple(f"shapes-{seed}-{i:05d}" for i in range(num_images)),
        sizes=np.tile(np.array(shape, np.int32), (num_images, 1)),
        placements=np.tile([0.0, 0, 1, 1], (num_images, 1)),
        report=LoadReport(images=num_images, objects=int(examples.valid.sum())),
    )


def _sample_scene(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    smallest, largest = EXTENT
    length = smallest * (largest / smallest) ** rng.uniform(0, 1, MAX_OBJECTS)
    places = rng.uniform(0.35 * length, 1 - 0.35 * length, (CANDIDATES, 2, MAX_OBJECTS)).transpose(2, 0, 1)
    half_size = np.stack([length, length * rng.uniform(*SQUASH, MAX_OBJECTS)], axis=1) / 2
    objects = Layers(
        center=_spread_out(places, length),
        half_size=half_size,
        angle=rng.uniform(0, 2 * np.pi, MAX_OBJECTS),
        colors=_two_tone(rng, MAX_OBJECTS),
        texture=rng.integers(0, 4, MAX_OBJECTS),
        frequency=rng.uniform(4, 8, MAX_OBJECTS),
        outline=rng.integers(0, len(CLASS_NAMES), MAX_OBJECTS),
    )
    strokes = Layers(
        center=rng.uniform(0, 1, (NUM_STROKES, 2)),
        half_size=rng.uniform((0.004, 0.1), (0.02, 0.6), (NUM_STROKES, 2)),
        angle=rng.uniform(0, 2 * np.pi, NUM_STROKES),
        colors=_two_tone(rng, NUM_STROKES),
        texture=np.zeros(NUM_STROKES, np.int64),
        frequency=np.ones(NUM_STROKES),
        outline=np.full(NUM_STROKES, CLASS_NAMES.index("square")),
    )
    scene = Scene(
        objects=objects,
        valid=np.arange(MAX_OBJECTS) < rng.integers(0, MAX_OBJECTS + 1),
        strokes=strokes,
        gradient=rng.uniform(0.3, 0.7, (3, 3, 3)),
        blotches=rng.normal(0, 0.06, (12, 12, 3)),
        noise=rng.normal(0, 0.03, (*shape, 3)),
    )
    single = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return jax.tree.map(lambda x: x.astype(single.get(x.dtype, x.dtype)), scene)


def _spread_out(places: Float[np.ndarray, "L P 2"], length: Float[np.ndarray, " L"]) -> Float[np.ndarray, "L 2"]:
    """Choose for each object in turn the candidate with the most room: some overlap remains, few objects vanish."""
    chosen = np.empty((0, 2))
    for number, candidates in enumerate(places):
        apart = np.linalg.norm(candidates[:, None] - chosen[None], axis=-1) - (length[number] + length[:number]) / 2
        chosen = np.append(chosen, candidates[[apart.min(axis=1, initial=1.0).argmax()]], axis=0)
    return chosen


def _two_tone(rng: np.random.Generator, count: int) -> Float[np.ndarray, "L 2 3"]:
    """Sample a strong colour for each, and a second one between it and another."""
    level = rng.uniform(-1, 1, (2, count, 3))
    first, second = 0.5 + 0.5 * np.sign(level) * (0.3 + 0.7 * abs(level))
    return np.stack([first, (first + second) / 2], axis=1)


@jax.jit
def _paint_all(scenes: Scene) -> Examples:
    """Paint one scene after the other: the maps of one stay in a CPU's cache."""
    return jax.lax.map(_paint, scenes)


def _paint(scene: Scene) -> Examples:
    field = partial(jax.image.resize, shape=scene.noise.shape, method="linear")
    shape = scene.noise.shape[:2]
    coverage, colors = jax.vmap(partial(_cover, shape))(scene.objects)
    coverage = coverage * scene.valid[:, None, None]

    image = field(scene.gradient) + field(scene.blotches)
    image = _paint_over(image, *jax.vmap(partial(_cover_with_stroke, shape))(scene.strokes))
    image = _paint_over(image, coverage, colors) + scene.noise

    mask = coverage > 0.5
    numbers = jnp.arange(MAX_OBJECTS)[:, None, None]
    topmost = jnp.max(jnp.where(mask, numbers, -1), axis=0)
    area = mask.sum((1, 2))
    valid = area > 0
    visible = (mask & (numbers == topmost[None])).sum((1, 2))
    return Examples(
        images=jnp.round(255 * jnp.clip(image, 0, 1)).astype(jnp.uint8),
        boxes=jnp.where(valid[:, None], jax.vmap(_hull)(mask), 0.0),
        labels=jnp.where(valid, scene.objects.outline, 0),
        valid=valid,
        difficult=valid & (visible < MIN_VISIBLE * area),
    )


def _cover(shape: tuple[int, int], layer: Layers) -> tuple[Float[Array, "H W"], Float[Array, "H W 3"]]:
    """Share of each pixel that one layer covers, and its colour there."""
    v, u = _own_axes(shape, layer)
    coverage = _coverage(shape, layer, jnp.stack(_outlines(v, u))[layer.outline])
    wave, cross_wave = jnp.sin(layer.frequency * u), jnp.sin(layer.frequency * v)
    plain, stripes, checks, dots = jnp.zeros_like(wave), wave, wave * cross_wave, wave * cross_wave - 0.5
    pattern = jnp.stack([plain, stripes, checks, dots])[layer.texture] > 0
    return coverage, jnp.where(pattern[..., None], layer.colors[1], layer.colors[0])


def _cover_with_stroke(shape: tuple[int, int], stroke: Layers) -> tuple[Float[Array, "H W"], Float[Array, "H W 3"]]:
    """Result of `_cover` for a plain square, without the other outlines and textures."""
    v, u = _own_axes(shape, stroke)
    return _coverage(shape, stroke, _square(v, u)), jnp.broadcast_to(stroke.colors[0], (*shape, 3))


def _own_axes(shape: tuple[int, int], layer: Layers) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Place of each pixel along the layer's own axes, where it fills [-1, 1]."""
    rows, columns = ((jnp.arange(side) + 0.5) / side for side in shape)
    y, x = jnp.meshgrid(rows - layer.center[0], columns - layer.center[1], indexing="ij")
    cos, sin = jnp.cos(layer.angle), jnp.sin(layer.angle)
    return (cos * y - sin * x) / layer.half_size[0], (sin * y + cos * x) / layer.half_size[1]


def _coverage(shape: tuple[int, int], layer: Layers, distance: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """Share of each pixel inside of an outline, from the distance to it."""
    return jnp.clip(0.5 - distance * layer.half_size.min() * math.sqrt(math.prod(shape)), 0, 1)


def _outlines(v: Float[Array, "H W"], u: Float[Array, "H W"]) -> tuple[Float[Array, "H W"], ...]:
    """Approximate distance to the outline of each class, negative inside, in the order of `CLASS_NAMES`."""
    radius = jnp.sqrt(v**2 + u**2)
    circle = radius - 1
    cross = jnp.minimum(jnp.maximum(abs(v), 3 * abs(u)), jnp.maximum(abs(u), 3 * abs(v))) - 1
    ring = abs(radius - 0.72) - 0.28
    star = _beyond_edges(v, u, edges=5)[1] - 0.309  # within all edges but one: a pentagram with tips at radius 1
    triangle = _beyond_edges(v, u, edges=3)[0] - 0.5
    return circle, cross, ring, _square(v, u), star, triangle


def _square(v: Float[Array, "H W"], u: Float[Array, "H W"]) -> Float[Array, "H W"]:
    return jnp.maximum(abs(v), abs(u)) - 0.85


def _beyond_edges(
    v: Float[Array, "H W"], u: Float[Array, "H W"], *, edges: int
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Largest and second largest distance in the directions of a regular polygon's edges."""
    first = second = jnp.full(v.shape, -jnp.inf)
    for angle in 2 * np.pi * np.arange(edges) / edges:
        distance = float(np.cos(angle)) * v + float(np.sin(angle)) * u
        first, second = jnp.maximum(first, distance), jnp.maximum(second, jnp.minimum(first, distance))
    return first, second


def _paint_over(
    image: Float[Array, "H W 3"], coverage: Float[Array, "L H W"], colors: Float[Array, "L H W 3"]
) -> Float[Array, "H W 3"]:
    """Painter's algorithm: later layers lie on top."""

    def paint(image: Array, layer: tuple[Array, Array]) -> tuple[Array, None]:
        alpha, color = layer
        return image + alpha[..., None] * (color - image), None

    return jax.lax.scan(paint, image, (coverage, colors))[0]


def _hull(mask: Bool[Array, "H W"]) -> Float[Array, "4"]:
    """Normalised box around the pixels of a mask."""
    rows, columns = mask.any(1), mask.any(0)
    near = jnp.stack([jnp.argmax(rows), jnp.argmax(columns)])
    far = jnp.stack([len(rows) - jnp.argmax(rows[::-1]), len(columns) - jnp.argmax(columns[::-1])])
    return jnp.concatenate([near, far]) / jnp.array(mask.shape * 2, jnp.float32)
