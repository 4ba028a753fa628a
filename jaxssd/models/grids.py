"""Grids of a head: the backbone's maps at an input size, and the halves of the last one."""

from collections.abc import Sequence
from typing import Any, NoReturn

from jaxssd.config import Config
from jaxssd.models import BACKBONES
from jaxssd.ops.arrays import Size


def pyramid_grids(grid: Size) -> tuple[Any, ...]:
    """List the grids that a `PyramidHead` can predict on, given the grid of its backbone.

    Args:
        grid: cells along one side of the backbone's feature map: image size over output stride, rounded up. Or rows and
            columns of the map.

    Returns:
        That grid, and its halves rounded up, down to one cell; numbers or pairs as the argument is.

    Example:
        >>> pyramid_grids(7), pyramid_grids((4, 6))
        ((7, 4, 2, 1), ((4, 6), (2, 3), (1, 2), (1, 1)))
    """
    if isinstance(grid, int):
        return (grid,) if grid <= 1 else (grid, *pyramid_grids(-(-grid // 2)))
    rows, columns = grid
    return (
        ((rows, columns),) if max(grid) <= 1 else ((rows, columns), *pyramid_grids((-(-rows // 2), -(-columns // 2))))
    )


def map_grids(config: Config) -> list[tuple[int, int]]:
    """Rows and columns of the backbone's maps at the input size of a run, finest first."""
    backbone = BACKBONES[config.model.backbone]()
    return grids_of(getattr(backbone, "level_strides", (backbone.output_stride,)), config.dataset.input_shape)


def grids_of(strides: Sequence[int], input_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of maps with these strides: height and width over the stride, rounded up.

    Example:
        >>> grids_of((8, 16), (100, 64))
        [(13, 8), (7, 4)]
    """
    height, width = input_shape
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def all_grids(maps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Grids that a `PyramidHead` can predict on, largest first."""
    return [*maps[:-1], *pyramid_grids(maps[-1])]


def refuse_grids(config: Config) -> NoReturn:
    """Raise ValueError with the grids that exist."""
    known = all_grids(map_grids(config))
    sides = " ".join(str(max(grid)) for grid in known)
    shapes = ", ".join(f"{rows}x{columns}" for rows, columns in known)
    height, width = config.dataset.input_shape
    size = str(height) if height == width else f"{height} {width}"
    raise ValueError(
        f"--grids is {config.anchors.grids}, expected some of {sides}: the longer sides of the grids {shapes}, which "
        f"{config.model.backbone} has at --image-size {size}"
    )
