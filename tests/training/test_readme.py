"""README's code runs as it stands there, on a run and a photograph of the test's own."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

README = (Path(__file__).parents[2] / "README.md").read_text()
FUNCTIONS, DETECT = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_functions(capsys):
    exec(FUNCTIONS, {})
    assert capsys.readouterr().out == re.search(r"print\(.*# (.*)\n", FUNCTIONS)[1] + "\n"


def test_detections_of_a_run(finished_run, tmp_path, capsys):
    Image.fromarray(np.full((30, 50, 3), 128, np.uint8)).save(tmp_path / "FILE.jpg")
    code = DETECT.replace('"RUN"', repr(str(finished_run.path))).replace('"FILE.jpg"', repr(str(tmp_path / "FILE.jpg")))
    names = {}
    exec(code, names)
    assert len(capsys.readouterr().out.splitlines()) == names["found"].valid.sum()
    assert names["found"].boxes.shape == (1, 100, 4)
