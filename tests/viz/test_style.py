"""Figures become files whole or not at all, and nothing stays behind."""

import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from jaxssd import viz
from tests.viz.samples import NAMES, ONE, found, photos


def test_save_writes_the_figure_and_frees_it(tmp_path):
    photograph = photos(1)[0]
    figure = viz.detection_image(photograph, found(), NAMES)
    viz.save(figure, tmp_path / "photo.png")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    np.testing.assert_allclose(mpl_image.imread(tmp_path / "photo.png")[..., :3], photograph / 255, atol=1e-6)
    assert not figure.axes


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    path.write_bytes(b"old")

    def fail_halfway(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        viz.save(viz.detection_image(photos(1)[0], found(), NAMES), path)
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["photo.png"]


def test_no_figure_is_left_with_pyplot():
    viz.detection_image(photos(1)[0], ONE, NAMES)
    viz.training_curves([{"step": 1, "loss": 1.0, "learning_rate": 0.1, "phase": 0}], [], {})
    assert not Gcf.get_all_fig_managers()
