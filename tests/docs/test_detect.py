"""`docs/detect.md`: its code runs, and its options and names are those of the package."""

import re
from pathlib import Path

import jaxssd
from jaxssd.inference import Found, video
from jaxssd.inference.video import Frame
from jaxssd.models.published import PUBLISHED
from tests.inference.conftest import Arithmetic, grey
from tests.test_formats import EVALUATE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "detect.md").read_text()


def test_its_code_runs_in_order(monkeypatch, capsys, tmp_path):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(grey(200)).save(name)
    monkeypatch.setattr("jaxssd.inference.load", lambda name: Arithmetic())
    frames = [Frame(number, number / 4, grey(200)) for number in range(3)]
    monkeypatch.setattr(video, "video_frames", lambda path: iter(frames))
    names = {}
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(code, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["['horse'] [0.78431374] [[0. 0. 4. 3.]]"] * 2 + [f"{number} ['horse']" for number in range(3)]


def test_its_names_are_those_of_the_package():
    detectors = {name for name, known in PUBLISHED.items() if known.preset}
    assert detectors <= set(re.findall(r"`(\w+_coco)`", TEXT))
    attributes = set(re.findall(r"found\.(\w+)", TEXT))
    assert attributes - {"labels", "scores", "boxes", "class_ids", "size", "file"} <= set(dir(Found))
    known = {f"--{name.replace('_', '-')}" for name in dir(EVALUATE.Command) + dir(EVALUATE.Limits)}
    assert set(re.findall(r"--[a-z][a-z-]+", TEXT)) <= known
    assert callable(jaxssd.load)


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / link).exists()
