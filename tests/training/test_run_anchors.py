"""Anchors that are fitted when a run starts."""

import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.report import LoadReport
from jaxssd.ops import make_anchors
from jaxssd.training import RunFolder, job
from jaxssd.training.run_anchors import fit_run

FIT = Config.of(image_size=64, backbone="resnet_tiny", grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),), anchors="fit")


def data_of(boxes, difficult=False):
    """One image for each box."""
    count = len(boxes)
    images, ones = np.zeros((count, 8, 8, 3), np.uint8), np.ones((count, 1), bool)
    labels = np.zeros((count, 1), np.int32)
    examples = Examples(images, boxes[:, None].astype(np.float32), labels, ones, ones & difficult)
    sizes, placements = np.full((count, 2), 8, np.int32), np.tile([0.0, 0, 1, 1], (count, 1))
    return Dataset(examples, ("a",), tuple(map(str, range(count))), sizes, placements, LoadReport(count, 0, ()))


WIDE = np.asarray(make_anchors((4,), (1.2,), ((0.5, 2.0),)).corners)
"""Boxes in the cells of the grid that squares do not match: IoU 0.4."""


def test_zooms_and_ratios_become_settings_of_the_run(capsys):
    fitted = fit_run(FIT, data_of(WIDE))
    (zoom,), ((height, width),) = fitted.anchors.zooms, fitted.anchors.ratios
    np.testing.assert_allclose([zoom * height, zoom * width], [0.6, 2.4], rtol=0.03)
    assert fitted == FIT.replace(anchors="fixed", zooms=(zoom,), ratios=((height, width),))
    words = f"recall 0.000 -> 1.000: --zooms {zoom:g} --ratios {height:g} {width:g}"
    assert capsys.readouterr().out == f"anchors: fitted to 16 boxes, best possible {words}\n"
    assert fit_run(FIT, data_of(WIDE)) == fitted


def test_anchors_that_fit_stay(capsys):
    squares = np.asarray(make_anchors((4,), (1.0,), ((1.0, 1.0),)).corners)
    assert fit_run(FIT, data_of(squares)) == FIT.replace(anchors="fixed")
    assert "the given ones fit, best possible recall 1.000" in capsys.readouterr().out


def test_only_objects_that_are_trained_on_count():
    points = np.concatenate([WIDE, WIDE[:, [0, 1, 0, 1]]])  # without an area
    assert fit_run(FIT, data_of(points)) == fit_run(FIT, data_of(WIDE))
    assert fit_run(FIT, data_of(WIDE, difficult=True)) == FIT.replace(anchors="fixed")


def test_a_run_starts_with_its_fitted_anchors(tmp_path, monkeypatch):
    """They are in config.json, and what is trained is what is written."""
    data, trained = data_of(WIDE), []
    monkeypatch.setattr(job, "_load", lambda config: (data, data))
    monkeypatch.setattr(job, "_finish", lambda config, *_: trained.append(config))
    run = RunFolder(tmp_path / "run")
    job.start(FIT, run)
    assert trained == [run.open()]
    assert trained[0].anchors == fit_run(FIT, data).anchors


def test_a_head_without_zooms_and_ratios_is_refused():
    with pytest.raises(ValueError, match=r"--anchors is fit, but the anchors of --head ssd300 .* --anchors fixed"):
        job.settle(FIT.replace(head="ssd300", image_size=300))
    job.settle(FIT.replace(task="multilabel"))  # which has no anchors at all
