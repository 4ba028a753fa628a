import numpy as np
import pytest

from jaxssd.viz.focal import focal_figure
from tests.viz.drawn import assert_readable, words

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)


def test_each_curve_is_cross_entropy_times_a_power_of_the_error():
    loss_ax, _ = focal_figure().axes
    curves = [line for line in loss_ax.lines if "gamma" in line.get_label()]
    assert len(curves) == len(GAMMAS)
    for line, gamma in zip(curves, GAMMAS, strict=True):
        p, loss = line.get_data()
        np.testing.assert_allclose(loss, (1 - p) ** gamma * -np.log(p), rtol=1e-4)
    assert "binary cross entropy" in curves[0].get_label()
    assert not any("cross entropy" in line.get_label() for line in curves[1:])
    assert len({line.get_color() for line in curves}) == len(GAMMAS)
    assert "without" in loss_ax.get_title()


def test_each_bar_is_the_easy_anchors_share_of_the_loss():
    _, share_ax = focal_figure().axes
    easy, hard = (bars.patches for bars in share_ax.containers)
    for below, above, gamma in zip(easy, hard, GAMMAS, strict=True):
        parts = 10_000 * 0.02**gamma * -np.log(0.98), 100 * 0.7**gamma * -np.log(0.3)
        assert below.get_height() == pytest.approx(100 * parts[0] / sum(parts), rel=1e-3)
        assert above.get_y() == pytest.approx(below.get_height())
        assert above.get_y() + above.get_height() == pytest.approx(100)
    assert words(share_ax.texts) == ["63", "22", "4.6", "0.14", "<0.01"]
    assert [tick.get_text() for tick in share_ax.get_xticklabels()] == ["0", "0.5", "1", "2", "5"]


@pytest.mark.parametrize("gammas", [GAMMAS, (2.0,), (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0)])
def test_it_is_readable_for_any_gammas(gammas):
    figure = focal_figure(gammas)
    assert_readable(figure, captions_too=True)
    assert len(figure.axes[1].containers[0]) == len(gammas)
