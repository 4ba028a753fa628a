"""Rotation of points and boxes about the centre of an image, and the part of a rotated box inside the image.

Coordinates are (y, x) in pixels with y pointing down; angles are in radians, counter-clockwise on the screen.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rotate_points(
    y: Float[Array, "*points"], x: Float[Array, "*points"], angle: Float[Array, ""], image_size: Float[Array, "2"]
) -> tuple[Float[Array, "*points"], Float[Array, "*points"]]:
    """Rotate points `(y, x)` of any shape by `angle` about the centre of an image of `image_size` (height, width)."""
    center_y, center_x = image_size / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = y - center_y, x - center_x
    return cos * y - sin * x + center_y, sin * y + cos * x + center_x


def rotated_boxes(
    center_size: Float[Array, "G 4"], angle: Float[Array, ""], image_size: Float[Array, "2"]
) -> tuple[Float[Array, "G 4"], Float[Array, "G"]]:
    """Rotate boxes about the centre of the image, clip them to it, and take the bounding box of the rest.

    Args:
        center_size: `[cy, cx, height, width]` before the rotation, sizes not negative.
        angle: angle in radians.
        image_size: height and width.

    Returns:
        `(corners[G, 4], area[G])`: bounding box of the part of each rotated box inside the image, and area of that
        part. Where the area is 0, the corners are undefined.

    Example:
        >>> box = jnp.array([[50.0, 50.0, 100.0, 100.0]])  # a whole image; four triangles are cut off
        >>> _, area = rotated_boxes(box, jnp.float32(jnp.pi / 4), jnp.array([100.0, 100.0]))
        >>> area.round(1)
        Array([8284.3], dtype=float32)
    """
    y, x, height, width = jnp.moveaxis(center_size, -1, 0)
    y, x = rotate_points(y, x, angle, image_size)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows, columns = image_size
    # Two pairs of sides (a, b, half): a point (dy, dx) from the centre lies inside if |a dy + b dx| <= half.
    down, across = (cos, sin, height / 2), (-sin, cos, width / 2)
    y1, y2 = _span(y, x, columns, down, across)
    x1, x2 = _span(x, y, rows, _swapped(down), _swapped(across))
    hull = [jnp.clip(y1, 0, rows), jnp.clip(x1, 0, columns), jnp.clip(y2, 0, rows), jnp.clip(x2, 0, columns)]
    corner_y = jnp.stack([y + cos * i * height / 2 - sin * j * width / 2 for i, j in _CORNERS])
    corner_x = jnp.stack([x + sin * i * height / 2 + cos * j * width / 2 for i, j in _CORNERS])
    return jnp.stack(hull, axis=-1), _clipped_area(corner_y, corner_x, image_size)


_CORNERS = ((-1, -1), (-1, 1), (1, 1), (1, -1))  # in order along the outline
_Sides = tuple[Array, Array, Array]


def _swapped(sides: _Sides) -> _Sides:
    a, b, half = sides
    return b, a, half


def _span(v: Array, u: Array, limit: Array, one: _Sides, other: _Sides) -> tuple[Array, Array]:
    """Extent of a rotated box along v, for the part of it with u in `[0, limit]`.

    The upper end is a concave function of u with its maximum in a corner. If that corner lies outside of the interval,
    the maximum is at the end of the interval next to it. The lower end is the mirror image about the centre.
    """
    (a, b, half), (c, d, other_half) = one, other
    corner_v = jnp.abs(a) * half + jnp.abs(c) * other_half
    corner_u = jnp.sign(a) * b * half + jnp.sign(c) * d * other_half

    def end(side: int) -> Array:
        nearest = side * (jnp.clip(u + side * corner_u, 0, limit) - u)
        at_the_end = jnp.minimum(_bound(a, b, half, nearest), _bound(c, d, other_half, nearest))
        inside = (u + side * corner_u >= 0) & (u + side * corner_u <= limit)
        return v + side * jnp.where(inside, corner_v, jnp.minimum(at_the_end, corner_v))

    low, high = end(-1), end(1)
    return jnp.minimum(low, high), high


def _bound(a: Array, b: Array, half: Array, du: Array) -> Array:
    """Greatest dv with |a dv + b du| <= half; infinite where a is 0."""
    bounds = jnp.abs(a) > 0
    return jnp.where(bounds, (half - jnp.sign(a) * b * du) / jnp.where(bounds, jnp.abs(a), 1), jnp.inf)


def _clipped_area(y: Float[Array, "4 G"], x: Float[Array, "4 G"], image_size: Float[Array, "2"]) -> Float[Array, "G"]:
    """Area of the part of polygons inside the image, by the shoelace formula along outlines clipped to the image.

    Clipping flattens the part outside onto the border, where it has no area. It is linear on each section of an edge
    between the lines that bound the image, so the ends of these sections suffice.
    """
    rows, columns = image_size
    to_y, to_x = _next(y) - y, _next(x) - x
    cuts = [_crossing(y, to_y, 0 * rows), _crossing(y, to_y, rows), _crossing(x, to_x, 0 * columns)]
    ends = jnp.sort(jnp.stack([0 * y, *cuts, _crossing(x, to_x, columns)], axis=1), axis=1)  # [4 edges, 5 ends, G]
    path_y = jnp.clip(y[:, None] + ends * to_y[:, None], 0, rows).reshape(20, y.shape[1])
    path_x = jnp.clip(x[:, None] + ends * to_x[:, None], 0, columns).reshape(20, x.shape[1])
    path_y, path_x = path_y - path_y[:1], path_x - path_x[:1]  # near 0, for the sake of rounding
    return jnp.maximum((path_x * _next(path_y) - _next(path_x) * path_y).sum(axis=0) / 2, 0)


def _next(points: Array) -> Array:
    """Next point of each along a closed outline."""
    return jnp.concatenate([points[1:], points[:1]])


def _crossing(start: Array, step: Array, line: Array) -> Array:
    """Fraction of an edge at which it crosses a line; 0 or 1 where it does not."""
    moves = step != 0
    return jnp.clip(jnp.where(moves, (line - start) / jnp.where(moves, step, 1), 0), 0, 1)
