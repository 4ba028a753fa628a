"""README's code runs as it stands there, on a run and photographs of the test's own."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

import jaxssd

README = (Path(__file__).parents[2] / "README.md").read_text()
DETECT, FUNCTIONS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_functions(capsys):
    exec(FUNCTIONS, {})
    assert capsys.readouterr().out == re.search(r"print\(.*# (.*)\n", FUNCTIONS)[1] + "\n"


def test_detection(finished_run, tmp_path, monkeypatch, capsys):
    """The published name stands for a run here: the weights are a download."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for file in ("a.jpg", "photos/b.jpg", "photos/c.jpg"):
        Image.fromarray(np.full((30, 50, 3), 128, np.uint8)).save(file)
    load = jaxssd.load
    monkeypatch.setattr(
        jaxssd, "load", lambda name: load({"ssd300_vgg16_coco": finished_run.path}[name]), raising=False
    )
    exec(DETECT, {})
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert {path.name for path in Path("found").iterdir()} == {"0.png", "1.png", "2.png"}
