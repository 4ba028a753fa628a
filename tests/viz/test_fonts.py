"""Names in any script and with any sign are drawn as they are written; what no font has is told of once."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.metrics import voc_scores
from jaxssd.ops import make_anchors
from jaxssd.viz import fonts
from jaxssd.viz.fonts import NO_GLYPH, drawable, legible, one_line
from tests.viz.drawn import photo, words
from tests.viz.samples import ONE, OTHER, TRUTHS, batch, photos, render

CIRCLED = "\u24d0"  # which DejaVu Sans lacks and STIXGeneral has, both of which come with Matplotlib
CHINESE, THAI = "\u732b", "\u0e41"
NAMES = ("_back$1$ground_^&%{}", f"{CHINESE}\\frac\t{THAI}", "traffic\nlight $")


@pytest.fixture(autouse=True)
def without_memory(monkeypatch):
    monkeypatch.setattr(fonts, "_families", {})
    monkeypatch.setattr(fonts, "_reported", set())


@pytest.fixture
def only_bundled_fonts(monkeypatch):
    """Whatever else is installed."""
    bundled = [font for font in font_manager.fontManager.ttflist if "mpl-data" in Path(font.fname).parts]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", bundled)


def figures():
    boxes, labels = np.array([OTHER] * 4, np.float32), np.array([0, 1, 2, 0], np.int32)
    scores, valid = np.full(4, 0.5, np.float32), np.ones(4, bool)
    image, truth = photo(), (boxes, labels, valid)
    yield viz.detection_grid(photos(2), batch(ONE, ONE), TRUTHS, NAMES, ids=NAMES[:2])
    yield viz.detection_image(image, ONE, NAMES)
    yield viz.object_grid(photos(1), boxes[:1], NAMES[:1], boxes[:1], NAMES[1:2], ids=NAMES[2:])
    yield viz.object_image(image, boxes[:1], NAMES[1:2])
    yield viz.label_grid(photos(1), np.full((1, 3), 0.9), np.ones((1, 3), bool), NAMES, threshold=0.4, ids=NAMES[:1])
    yield viz.labelled_image(image, NAMES)
    yield viz.raw_predictions_figure(image, boxes, labels, scores, NAMES, 2)
    yield viz.nms_figure(image, boxes, scores, labels, ONE, NAMES)
    yield viz.match_figure(image, *truth, make_anchors(), NAMES)
    moved = (boxes[None], valid[None])
    yield viz.augmentation_pair(np.zeros((1, 9, 9, 3), np.float32), (boxes, valid), moved, labels, NAMES)
    yield viz.augmented_grid(np.zeros((1, 9, 9, 3), np.float32), *moved[:1], labels[None], valid[None], NAMES)
    scores = voc_scores(batch(ONE), boxes[None], labels[None], valid[None], num_classes=3)
    yield viz.precision_recall(scores, NAMES)


def all_words(figure) -> str:
    legends = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()))]
    titles = [ax.get_title() for ax in figure.axes]
    texts = [text for part in (figure, *figure.axes) for text in part.texts]
    return "\n".join([*titles, *words(texts), *(word for legend in legends for word in words(legend.texts))])


@pytest.mark.usefixtures("only_bundled_fonts")
def test_no_figure_warns_of_a_name_or_takes_it_for_a_formula(capsys):
    """Warnings are errors in these tests; a formula that is none would be one."""
    shown = []
    for figure in figures():
        render(figure)
        shown.append(all_words(figure))
    assert all("_back$1$ground_^&%{}" in text or f"{NO_GLYPH}\\frac {NO_GLYPH}" in text for text in shown)
    assert all("traffic light $" in text for text in shown if "traffic" in text)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # one for each script, in eleven figures
    assert f"no installed font has {CHINESE}" in lines[0] or f"no installed font has {CHINESE}" in lines[1]
    assert any("fonts-noto-cjk" in line for line in lines)
    assert any("Thai" in line for line in lines)


def test_a_letter_that_another_font_has_is_drawn_with_it(capsys):
    usual = render(viz.labelled_image(np.zeros((40, 60, 3), np.uint8), [NO_GLYPH]))
    figure = viz.labelled_image(np.zeros((40, 60, 3), np.uint8), [CIRCLED])
    (text,) = figure.axes[0].texts
    assert text.get_text() == CIRCLED
    assert text.get_fontfamily()[-1] == fonts._families["bold", CIRCLED] != ""
    assert not np.array_equal(render(figure), usual)
    assert capsys.readouterr().err == ""


def test_preferred_families_come_first(monkeypatch):
    entries = [font for font in font_manager.fontManager.ttflist if font.name in ("STIXGeneral", "DejaVu Serif")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    monkeypatch.setattr(fonts, "PREFERRED", ("STIXGeneral",))
    assert [name for name, _ in fonts._by_preference("normal")] == ["STIXGeneral", "DejaVu Serif"]
    files = dict(fonts._by_preference("bold"))
    assert Path(files["STIXGeneral"]).name == "STIXGeneralBol.ttf"
    assert Path(dict(fonts._by_preference("normal"))["STIXGeneral"]).name == "STIXGeneral.ttf"


@pytest.mark.usefixtures("only_bundled_fonts")
def test_labels_of_an_axis_are_legible_too():
    figure = Figure()
    ax = figure.subplots()
    ax.set_yticks([0, 1, 2], [drawable(name) for name in (CHINESE, CIRCLED, "$a$")], parse_math=False)
    render(legible(figure))
    assert words(ax.get_yticklabels()) == [NO_GLYPH, CIRCLED, "$a$"]


def test_the_last_resort_is_no_font():
    """It has a box for every letter, with its number."""
    assert not any("Last Resort" in name for name, _ in fonts._by_preference("normal"))


def test_fonts_are_looked_through_once(monkeypatch):
    opened = []
    of_file = fonts.get_font
    monkeypatch.setattr(fonts, "get_font", lambda file: opened.append(file) or of_file(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(viz.labelled_image(photo(), ["\ue0ff a", "\u24d0 b"]))
        count = len(opened)
        render(viz.labelled_image(photo(), ["\ue0ff a", "\u24d0 b"]))
    assert len(opened) == count


def test_one_line():
    assert one_line("a\tb\r\nc\u2028d") == "a b  c d"
    assert one_line("a b") == "a b"
    assert one_line("abcdef", most=6) == "abcdef"
    assert one_line("abcdefg", most=6) == "abcde…"
