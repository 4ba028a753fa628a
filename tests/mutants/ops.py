"""Bugs planted in `ops`."""

from tests.mutants.planted import Mutant

BOXES, ANCHORS, MATCHING = "jaxssd/ops/boxes.py", "jaxssd/ops/anchors.py", "jaxssd/ops/matching.py"
LOSSES, SSD, NMS, BOX_CODER = (
    "jaxssd/ops/losses.py",
    "jaxssd/ops/ssd_loss.py",
    "jaxssd/ops/nms.py",
    "jaxssd/ops/box_coder.py",
)
TARGETS, TOP = "jaxssd/ops/targets.py", "jaxssd/ops/top_anchors.py"
AUGMENT, ROTATION = "jaxssd/ops/augment.py", "jaxssd/ops/rotation.py"
SAMPLING, RESAMPLING = "jaxssd/ops/sampling.py", "jaxssd/ops/resampling.py"
COLOR, IOU_CROP, MOSAIC = "jaxssd/ops/color.py", "jaxssd/ops/iou_crop.py", "jaxssd/data/mosaic.py"
BOX_LOSSES, SOFT_NMS = "jaxssd/ops/box_losses.py", "jaxssd/ops/soft_nms.py"
ABOUT_LOSS, ABOUT_NMS = "tests/ops/test_loss_settings.py", "tests/ops/test_nms_variants.py"
CORNER, OF_ANCHORS = (
    "jaxssd/ops/corner_anchors.py",
    "tests/ops/test_anchors.py::test_retinanet_is_loops_over_whole_pixels",
)
ABOUT = "tests/ops/test_augment.py tests/ops/test_augment_transforms.py"

PLANTED = (
    Mutant(BOXES, "near = jnp.minimum(", "near = jnp.maximum(", "the hull is the overlap"),
    Mutant(BOXES, "(near + far) / 2, far - near]", "(near + far) / 2, near - far]", "sizes are negative"),
    Mutant(BOXES, "[center - size / 2, center + size / 2]", "[center - size, center + size]", "twice the size"),
    Mutant(ANCHORS, "(np.arange(count) + 0.5) * step", "np.arange(count) * step", "centres are corners of cells"),
    Mutant(
        ANCHORS, "rows / elongation, columns * elongation", "rows * elongation, columns / elongation", "anchors turned"
    ),
    Mutant(ANCHORS, "cell[:, :1] if square_cells else cell", "cell[:, :1]", "moves along a row as along a column"),
    Mutant(ANCHORS, "columns = [cy, cx, nothing", "columns = [cx, cy, nothing", "columns before rows"),
    Mutant(ANCHORS, "xp.sqrt(s[k] * s[k + 1])", "(s[k] + s[k + 1]) / 2", "an arithmetic for a geometric mean"),
    Mutant(MATCHING, "(a[0] == b[0]) & (a[1] < b[1])", "(a[0] == b[0]) & (a[1] > b[1])", "ties go to the highest"),
    Mutant(MATCHING, "& (rows[None, :] < rows[:, None])", "& (rows[None, :] > rows[:, None])", "ties of owners turned"),
    Mutant(MATCHING, "positive=forced | positive", "positive=positive", "nothing is forced"),
    Mutant(MATCHING, "iou > jnp.asarray(threshold", "iou >= jnp.asarray(threshold", "exactly the threshold counts"),
    Mutant(
        MATCHING,
        "added = ~positive & (candidate_row >= 0)",
        "added = candidate_row >= 0",
        "a candidate is taken from an object above the threshold",
        "tests/ops/test_top_anchors.py",
    ),
    Mutant(
        MATCHING,
        "forced, owner, row))",
        "forced & ~positive, owner, row))",
        "a best anchor is taken from its owner",
        "tests/ops/test_top_anchors.py",
    ),
    Mutant(TOP, "block = jnp.sort(block, axis=1)", "block = block", "ties go to the highest block"),
    Mutant(TOP, "at[anchor].max(overlap)", "at[anchor].min(overlap)", "the lowest IoU wins an anchor"),
    Mutant(TOP, "(overlap > min_iou) & (overlap > 0)", "overlap > 0", "any overlap is enough"),
    Mutant(MATCHING, ".max(_rows(anchor))", ".min(_rows(anchor))", "the first object has the lesson's anchor"),
    Mutant(MATCHING, "jnp.any(standing.seeking)", "jnp.all(standing.seeking)", "the last objects own no anchor"),
    Mutant(
        MATCHING,
        "seeking=standing.seeking | (overlapping & copy)",
        "seeking=overlapping & copy",
        "who is left is not served",
    ),
    Mutant(LOSSES, "jnp.asarray(ratio, jnp.float32) * positives", "positives", "the ratio of negatives is 1"),
    Mutant(LOSSES, "jnp.int32) <= count", "jnp.int32) < count", "a negative too few on ties"),
    Mutant(SSD, "decoded - truth, 0))) / 4", "decoded - truth, 0)))", "a sum over coordinates"),
    Mutant(
        TARGETS,
        "(0, 1)), match.gt_index), -1)",
        "(0, 1)), match.gt_index), 0)",
        "background is class 0",
        "tests/ops/test_ssd_loss.py",
    ),
    Mutant(
        SSD,
        "kept = positive | hard_negative_mask(",
        "kept = hard_negative_mask(",
        "no positives mined",
        "tests/ops/test_ssd300_loss.py",
    ),
    Mutant(
        LOSSES, "excluded = positive | as_mask(ignored)", "excluded = positive", "ignored anchors are mined", ABOUT_LOSS
    ),
    Mutant(LOSSES, "classes, axis=-1)) * of_background", "classes, axis=-1))", "background costs nothing", ABOUT_LOSS),
    Mutant(TARGETS, "ignored = ~match.positive & (", "ignored = (", "positive anchors are ignored", ABOUT_LOSS),
    Mutant(SSD, "/ lax.axis_size(axis_name)", "", "the batch's positives, not their mean", ABOUT_LOSS),
    Mutant(BOX_LOSSES, "squares(y + far_y, x + far_x)", "squares(y, x)", "near corners in place of centres"),
    Mutant(BOX_LOSSES, "safe_ratio(hull - union, hull)", "safe_ratio(hull - union, union)", "a share of the union"),
    Mutant(SOFT_NMS, "(rows != best) & (scores > -jnp.inf)", "rows != best", "0 x inf takes an output", ABOUT_NMS),
    Mutant(SOFT_NMS, "jnp.exp(-(overlap**2)", "jnp.exp(-overlap", "another decay", ABOUT_NMS),
    Mutant(
        NMS,
        "jnp.nonzero(rows.valid, size=count",
        "jnp.nonzero(rows.valid | True, size=count",
        "suppressed boxes take the places of others",
        ABOUT_NMS,
    ),
    Mutant(SSD, "box_losses / positives", "box_losses / len(logits)", "a mean over all anchors"),
    Mutant(NMS, "jnp.triu(overlap, k=1)", "jnp.triu(overlap, k=2)", "the next best box is never suppressed"),
    Mutant(
        NMS,
        "_overlaps(candidates.boxes, iou_threshold) & (labels[:, None] == labels[None, :])",
        "_overlaps(candidates.boxes, iou_threshold)",
        "classes suppress each other",
    ),
    Mutant(
        NMS,
        "take_rows(boxes, rows), iou_threshold) & (labels[:, None] == labels[None, :])",
        "take_rows(boxes, rows), iou_threshold)",
        "classes suppress each other in blocks",
        ABOUT_NMS,
    ),
    Mutant(NMS, "best > score_threshold", "best >= score_threshold", "exactly the score threshold is kept"),
    Mutant(NMS, "return iou > jnp", "return iou >= jnp", "exactly the threshold suppresses"),
    Mutant(
        BOX_CODER, "center + move * anchors.cell_size", "center + 2 * move * anchors.cell_size", "a whole cell's move"
    ),
    Mutant(BOX_CODER, "math.log(1000 / 16)", "math.log(1000 / 8)", "the bound of sizes is another"),
    Mutant(AUGMENT, "jnp.stack([y1, 1 - x2, y2, 1 - x1]", "jnp.stack([1 - y2, x1, 1 - y1, x2]", "a flip upside down"),
    Mutant(
        AUGMENT,
        "boxes = jnp.where(augmentation.flip, jnp.stack",
        "boxes = jnp.where(~augmentation.flip, jnp.stack",
        "boxes flip when images do not",
    ),
    Mutant(
        SAMPLING,
        "translation=random.uniform(shift_key, (2,), jnp.float32) * (1 - axis_scale)",
        "translation=random.uniform(shift_key, ()) * (1 - axis_scale)",
        "both axes shift alike",
        ABOUT,
    ),
    Mutant(
        SAMPLING,
        "jnp.stack([zoom * stretch, zoom / stretch])",
        "jnp.stack([zoom / stretch, zoom * stretch])",
        "the aspect is turned",
        ABOUT,
    ),
    Mutant(
        SAMPLING,
        "contrast=up_or_down(contrast_key, contrast)",
        "contrast=up_or_down(brightness_key, contrast)",
        "contrast and brightness in step",
        ABOUT,
    ),
    Mutant(
        SAMPLING,
        "known_rotation is not None and known_rotation == 0",
        "known_rotation is not None and known_rotation <= 3",
        "the lesson's rotation is none",
        ABOUT,
    ),
    Mutant(
        RESAMPLING,
        "1 + contrast, 1 / (1 + jnp.abs(contrast))",
        "1 + contrast, 1 - jnp.abs(contrast)",
        "less contrast is another factor",
        ABOUT,
    ),
    Mutant(RESAMPLING, "mean = image.mean()", "mean = 0.5", "contrast about grey", ABOUT),
    Mutant(
        RESAMPLING,
        "moved = jnp.where(augmentation.flip, moved[:, ::-1], moved)",
        "moved = jnp.where(augmentation.flip, moved[::-1], moved)",
        "images flip upside down",
        ABOUT,
    ),
    Mutant(
        RESAMPLING,
        "rotate_points(y, x, -angle, size)",
        "rotate_points(y, x, angle, size)",
        "images turn the other way",
        ABOUT,
    ),
    Mutant(
        RESAMPLING,
        "look_up(image, [y - 0.5, x - 0.5])",
        "look_up(image, [y, x])",
        "half a pixel beside",
        ABOUT,
    ),
    Mutant(
        "jaxssd/ops/augment.py",
        "visible >= jnp.asarray(min_visible",
        "visible > jnp.asarray(min_visible",
        "exactly the least share is dropped",
    ),
    Mutant(
        "jaxssd/ops/augment.py",
        "kept = valid & (box_area(boxes) > 0) & in_view",
        "kept = valid & in_view",
        "boxes without area stay",
    ),
    Mutant(
        RESAMPLING,
        'method="linear",\n        antialias=True',
        'method="linear",\n        antialias=False',
        "aliases",
        ABOUT,
    ),
    Mutant(
        "jaxssd/ops/augment.py",
        "_FAR_BELOW, _FAR_ABOVE = -0.5, 1.5",
        "_FAR_BELOW, _FAR_ABOVE = -0.5, 256",
        "pixels up to 255 pass",
        "tests/ops/test_augment_transforms.py",
    ),
    Mutant(
        RESAMPLING,
        "jnp.where(augmentation.vertical_flip, moved[::-1], moved)",
        "jnp.where(augmentation.vertical_flip, moved[:, ::-1], moved)",
        "a vertical flip left and right",
        "tests/ops/test_augment.py::test_a_vertical_flip_turns_image_and_boxes_upside_down",
    ),
    Mutant(
        AUGMENT,
        "(x >= 0) & (x <= 1)",
        "(x >= -1) & (x <= 2)",
        "centres out of view",
        "tests/ops/test_augment.py::test_a_box_whose_centre_is_out_of_view_is_dropped_where_asked",
    ),
    Mutant(COLOR, "jnp.minimum(chroma * saturation, value)", "chroma * saturation", "colours beyond saturation"),
    Mutant(COLOR, "k = n + sixths + hue / 60", "k = n + sixths - hue / 60", "hues turn the other way"),
    Mutant(COLOR, "center = brightness + (", "center = (", "contrast about the mean from before"),
    Mutant(IOU_CROP, "inside & valid[None, :], iou, -1", "valid[None, :], iou, -1", "crops without a centre"),
    Mutant(
        IOU_CROP, "(place[None, :] - corner) / size", "(place[None, :] - corner)", "crops shift by pixels of the canvas"
    ),
    Mutant(IOU_CROP, "jnp.where(valid.any(), best, 1)", "best", "images without objects are never cropped"),
    Mutant(MOSAIC, "lambda x: x[places]", "lambda x: x", "a mosaic of one image"),
    Mutant(MOSAIC, "other.valid & chosen[:, None]", "other.valid", "objects of images that are not blended"),
    Mutant(MOSAIC, "jnp.argsort(-area", "jnp.argsort(area", "the smallest objects are kept"),
    Mutant(SAMPLING, "(math.pi / 180)", "(math.pi / 90)", "angles of twice the size", ABOUT),
    Mutant(
        TARGETS,
        "known = jnp.all(~valid | (",
        "known = jnp.all(valid | (",
        "padding must have a label",
        "tests/ops/test_ssd_loss.py",
    ),
    Mutant(
        ROTATION, "jnp.where(inside, corner_v, jnp", "jnp.where(~inside, corner_v, jnp", "hulls of the whole box", ABOUT
    ),
    Mutant(ROTATION, "_swapped(down), _swapped(across)", "down, across", "columns by the sides of rows", ABOUT),
    Mutant(
        ROTATION, "(half - jnp.sign(a) * b * du)", "(half + jnp.sign(a) * b * du)", "the other end of a side", ABOUT
    ),
    Mutant(ROTATION, ".sum(axis=0) / 2, 0)", ".sum(axis=0), 0)", "twice the area in view", ABOUT),
    Mutant(ROTATION, "_crossing(x, to_x, columns)]", "_crossing(x, to_x, rows)]", "the image is a square", ABOUT),
    Mutant(
        "jaxssd/ops/loops.py",
        "jnp.any(jax.vmap(unsettled)",
        "jnp.all(jax.vmap(unsettled)",
        "a batch ends with its first image",
        "tests/ops/test_nms.py",
    ),
    Mutant(NMS, "found.append((best, anchors + start", "found.append((best, anchors", "boxes of level 1", ABOUT_NMS),
    Mutant(NMS, "~kept.valid[-1] & (end < num_valid)", "end < 1", "candidates beyond the first block", ABOUT_NMS),
    Mutant(NMS, "concatenate([kept.valid, end", "concatenate([kept.valid & False, end", "boxes kept before", ABOUT_NMS),
    Mutant(CORNER, "cell = shape // count", "cell = shape / count", "cells of a fraction of a pixel", OF_ANCHORS),
    Mutant(CORNER, "xp.floor(sizes)", "sizes", "sizes of a fraction of a pixel", OF_ANCHORS),
    Mutant(CORNER, "xp.round((", "((", "corners between two pixels", OF_ANCHORS),
    Mutant(BOX_CODER, "loss=jnp.abs", "loss=None", "smooth L1 for RetinaNet's L1", ABOUT_LOSS),
)
