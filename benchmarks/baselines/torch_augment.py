"""Random crop, zoom, flip and lighting in PyTorch, for a batch on the device, with jaxssd's distributions.

Boxes move as in `jaxssd.augment_boxes`. Images are sampled by `grid_sample`, which unlike ours does not average pixels
where an image shrinks.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE, ASPECT, LIGHTING, MIN_VISIBLE = (2 / 3, 3 / 2), (4 / 5, 5 / 4), 0.05, 0.3
FILL = (0.485, 0.456, 0.406)
Boxes = tuple[Tensor, Tensor]


def augment(images: Tensor, boxes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Augment each image of a batch with its own random parameters.

    Args:
        images: images, uint8 `[B, S, S, 3]`.
        boxes: boxes `[B, G, 4]`.
        valid: mask of the boxes `[B, G]`.

    Returns:
        Images in `[0, 1]`, boxes, mask of the boxes that are kept.
    """
    count, device = len(images), images.device
    zoom = _log_uniform(count, SCALE, device)
    stretch = _log_uniform(count, ASPECT, device).sqrt()
    scale = torch.stack([zoom * stretch, zoom / stretch], dim=1)  # [B, 2], y and x
    shift = torch.rand(count, 2, device=device) * (1 - scale)
    flip = torch.rand(count, device=device) < 0.5
    images = move_images(_light(images.permute(0, 3, 1, 2) / 255), scale, shift, flip)
    return images.permute(0, 2, 3, 1), *move_boxes(boxes, valid, scale, shift, flip)


def _light(images: Tensor) -> Tensor:
    """Change brightness, and contrast about the mean of all pixels and channels."""
    brightness, contrast = (2 * torch.rand(2, len(images), 1, 1, 1, device=images.device) - 1) * LIGHTING
    factor = torch.where(contrast >= 0, 1 + contrast, 1 / (1 + contrast.abs()))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * factor + mean + brightness).clamp(0, 1)


def move_images(images: Tensor, scale: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """Images after `point * scale + shift` and a flip; `affine_grid` takes the inverse, in coordinates from -1 to 1."""
    back = 1 / scale
    offset = (1 - 2 * shift) * back - 1
    sign = torch.where(flip, -1.0, 1.0)
    zero = torch.zeros_like(sign)
    x = torch.stack([sign * back[:, 1], zero, offset[:, 1]], dim=1)
    y = torch.stack([zero, back[:, 0], offset[:, 0]], dim=1)
    grid = F.affine_grid(torch.stack([x, y], dim=1), list(images.shape), align_corners=False)
    fill = torch.tensor(FILL, device=images.device)[:, None, None]
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def move_boxes(boxes: Tensor, valid: Tensor, scale: Tensor, shift: Tensor, flip: Tensor) -> Boxes:
    """Boxes after `point * scale + shift` and a flip, clipped, and the mask of those that are kept."""
    moved = boxes * scale.repeat(1, 2)[:, None] + shift.repeat(1, 2)[:, None]
    y1, x1, y2, x2 = moved.unbind(dim=-1)
    mirrored = torch.stack([y1, 1 - x2, y2, 1 - x1], dim=-1)
    moved = torch.where(flip[:, None, None], mirrored, moved)
    clipped = moved.clamp(0, 1)
    visible, whole = _area(clipped), _area(moved)
    kept = valid & (visible > 0) & (visible >= MIN_VISIBLE * whole)
    return torch.where(kept[..., None], clipped, 0), kept


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def _log_uniform(count: int, limits: tuple[float, float], device: torch.device) -> Tensor:
    low, high = map(math.log, limits)
    return torch.exp(low + (high - low) * torch.rand(count, device=device))
