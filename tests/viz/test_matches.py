from functools import partial

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex

from jaxssd.ops import make_anchors, match_anchors
from jaxssd.viz.matches import match_figure
from jaxssd.viz.style import BOX_COLORS
from tests.viz.drawn import assert_readable, assert_same_boxes, corners, outlines, photo, words

match_jitted = jax.jit(match_anchors, static_argnames="rule")
match_four = jax.jit(partial(match_anchors, anchors_per_object=4))
NAMES = ("sheep", "cow", "person")
ANCHORS = {
    16: make_anchors((4,), (1.0,), ((1.0, 1.0),)),
    189: make_anchors(),
    240: make_anchors((8, 4), (1.0, 1.4, 2.0), ((1.0, 1.0),)),
}
BOXES = np.array([[0.55, 0.02, 0.75, 0.3], [0.1, 0.25, 0.9, 0.8], [0.3, 0.3, 0.45, 0.4], [np.nan] * 4], np.float32)
LABELS, VALID = np.array([0, 1, 0, 2], np.int32), np.array([True, True, True, False])
# The two that are valid overlap the same cell of four by four most; the second overlaps its neighbour too.
SHARED = np.array([[0.26, 0.26, 0.49, 0.4], [np.nan] * 4, [0.3, 0.3, 0.45, 0.55], [0.0, 0.0, 1.0, 1.0]], np.float32)
TWO = np.array([True, False, True, False])


def iou(one, other):
    side = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.prod(np.maximum(side, 0))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def summaries(ax):
    return words(ax.get_legend().texts)


@pytest.mark.parametrize("count", ANCHORS)
def test_every_positive_anchor_is_drawn_with_its_object_and_no_other(count):
    anchors = np.asarray(ANCHORS[count].corners)
    figure = match_figure(photo(), BOXES, LABELS, VALID, ANCHORS[count], NAMES)
    for ax, rule in zip(figure.axes, ("best_iou", "lesson"), strict=True):
        match = match_jitted(anchors, BOXES, VALID, rule=rule)
        positive, owner = np.asarray(match.positive), np.asarray(match.gt_index)
        assert ax.get_title() == f'rule="{rule}": {positive.sum()} of {count} anchors positive'
        for index in range(3):
            patches = [p for p in outlines(ax) if to_hex(p.get_edgecolor()).upper() == BOX_COLORS[index]]
            mine = anchors[positive & (owner == index)]
            assert_same_boxes(corners(patches), np.concatenate([mine, BOXES[[index]]]))
            forced = [box for box in mine if iou(box, BOXES[index]) <= 0.4]
            assert_same_boxes(corners([p for p in patches if p.get_linestyle() == "--"]), np.reshape(forced, (-1, 4)))
        assert len(outlines(ax)) == 3 + positive.sum()
        assert len(ax.lines) == 2 * (3 - len(set(owner[positive])))  # only what has no anchor is crossed out
        forced_words = [text for text in words(ax.texts) if text[0] == "0"]
        assert len(forced_words) == len([p for p in outlines(ax) if p.get_linestyle() == "--"])


def test_several_anchors_for_each_object_and_ignored_ones():
    anchors = np.asarray(ANCHORS[240].corners)
    settings = {"anchors_per_object": 4, "ignore_threshold": 0.3}
    figure = match_figure(photo(), BOXES, LABELS, VALID, ANCHORS[240], NAMES, **settings)
    for ax, match in zip(
        figure.axes,
        (match_four(anchors, BOXES, VALID), match_jitted(anchors, BOXES, VALID, rule="lesson")),
        strict=True,
    ):
        positive = np.asarray(match.positive)
        ignored = ~positive & (np.asarray(match.overlap) >= 0.3)
        assert ignored.any()
        title = f"{positive.sum()} of 240 anchors positive, {ignored.sum()} ignored"
        assert ax.get_title().endswith(title)
        dotted = [patch for patch in outlines(ax) if patch.get_linestyle() == ":"]
        assert_same_boxes(corners(dotted), anchors[ignored])
        assert len(outlines(ax)) == 3 + positive.sum() + ignored.sum()
    assert "3 sheep: 4 anchors, 4 forced" in summaries(figure.axes[0])[2]


def test_the_objects_are_listed_with_what_they_got():
    figure = match_figure(photo(), BOXES, LABELS, VALID, ANCHORS[16], NAMES)
    shares = {index: [iou(box, BOXES[index]) for box in np.asarray(ANCHORS[16].corners)] for index in range(3)}
    expected = [
        f"1 sheep: 1 anchor, IoU {max(shares[0]):.2f}",
        f"2 cow: 1 anchor, forced, IoU {max(shares[1]):.2f}",
        f"3 sheep: 1 anchor, forced, IoU {max(shares[2]):.2f}",
    ]
    assert summaries(figure.axes[1])[::2] == expected[::2]
    figure = match_figure(photo(), BOXES, LABELS, np.arange(4) == 1, ANCHORS[16], NAMES, threshold=0.13)
    above = sorted(share for share in shares[1] if share > 0.13)
    assert len(above) > 1
    assert summaries(figure.axes[0]) == [f"1 cow: {len(above)} anchors, IoU {above[0]:.2f} to {above[-1]:.2f}"]


def test_an_object_that_the_lesson_leaves_without_an_anchor_is_crossed_out():
    figure = match_figure(photo(), SHARED, LABELS, TWO, ANCHORS[16], NAMES)
    ours, lessons = figure.axes
    assert "no anchor" not in " ".join(words(ours.texts) + summaries(ours))
    assert summaries(lessons)[0] == "1 sheep: no anchor"
    assert "1 sheep: no anchor" in words(lessons.texts)
    assert not ours.lines
    y1, x1, y2, x2 = SHARED[0]
    ends = sorted(sorted(map(tuple, line.get_xydata().round(4).tolist())) for line in lessons.lines)
    expected = sorted(sorted([(x1, a), (x2, b)]) for a, b in ((y1, y2), (y2, y1)))
    np.testing.assert_allclose(ends, expected, atol=1e-4)
    np.testing.assert_allclose([len(outlines(ax)) for ax in figure.axes], [4, 3])
    assert_readable(figure)


def test_more_objects_than_anchors_leave_some_without_under_either_rule():
    anchor = make_anchors((1,), (1.0,), ((1.0, 1.0),))
    figure = match_figure(photo(), SHARED, LABELS, TWO, anchor, NAMES)
    assert [sum("no anchor" in line for line in summaries(ax)) for ax in figure.axes] == [1, 1]


@pytest.mark.parametrize("count", [16, 189])
def test_an_image_without_objects_is_only_the_image(count):
    figure = match_figure(photo(), BOXES, LABELS, np.zeros(4, bool), ANCHORS[count], NAMES)
    for ax in figure.axes:
        assert not [*ax.patches, *ax.lines, *ax.texts]
        assert f"0 of {count} anchors positive" in ax.get_title()
    assert_readable(figure)


@pytest.mark.parametrize(("count", "size"), [(16, (50, 80)), (189, (80, 50))])
def test_titles_and_lists_are_readable(count, size):
    assert_readable(match_figure(photo(*size), BOXES, LABELS, VALID, ANCHORS[count], NAMES))


def test_names_with_dollar_signs_are_only_names():
    assert_readable(match_figure(photo(), BOXES, LABELS, VALID, ANCHORS[16], (r"c$\frac$", "p$1$q", "$5")))


def test_of_very_many_objects_the_first_are_listed():
    rng = np.random.default_rng(0)
    near = rng.uniform(0, 0.8, (60, 2))
    boxes = np.concatenate([near, near + rng.uniform(0.05, 0.2, (60, 2))], axis=1).astype(np.float32)
    figure = match_figure(photo(), boxes, np.zeros(60, np.int32), np.ones(60, bool), ANCHORS[16], NAMES)
    for ax in figure.axes:
        lines = summaries(ax)
        assert [line.split()[0] for line in lines[:40]] == [str(number) for number in range(1, 41)]
        lost = sum("no anchor" in text and int(text.split()[0]) > 40 for text in words(ax.texts))
        assert lines[40:] == [f"and 20 more, {lost} of them without an anchor"]
    assert_readable(figure)
