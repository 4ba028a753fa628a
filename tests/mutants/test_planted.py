"""The list of planted bugs is up to date: each still has its place in the code, and tests that are there."""

import ast
from functools import cache

import pytest

from tests.mutants.planted import ROOMS, ROOT, Mutant, all_planted, mirror

PLANTED = all_planted()


@cache
def dump(text):
    return ast.dump(ast.parse(text))


@pytest.mark.parametrize("mutant", PLANTED, ids=str)
def test_every_bug_can_be_planted(mutant):
    """Its old text occurs once, what comes of it is Python and something else, and the tests that are asked exist."""
    text = (ROOT / mutant.file).read_text()
    planted = ast.parse(mutant.plant(text))
    compile(planted, mutant.file, "exec")
    assert ast.dump(planted) != dump(text)
    for test in mutant.asked:
        file, *names = test.split("::")
        source = (ROOT / file).read_text()
        assert all(f"def {name.partition('[')[0]}(" in source for name in names), test


def test_bugs_are_many_and_told_apart():
    assert len(PLANTED) >= 80
    assert len({str(mutant) for mutant in PLANTED}) == len(PLANTED)
    files = {mutant.file for mutant in PLANTED}
    for room in [room for room in ROOMS if (ROOT / "jaxssd" / room).is_dir()]:
        assert any(file.startswith(f"jaxssd/{room}/") for file in files), room
    assert {"train.py", "evaluate.py"} <= files


@pytest.mark.parametrize("text", ["a = 1\n", "a = b = 1\nb = 1\n"])
def test_a_bug_whose_place_is_gone_is_stale(text):
    with pytest.raises(ValueError, match=r"stale: x\.py has \d times"):
        Mutant("x.py", "b", "c", "nothing").plant(text)


def test_the_mirror_of_a_file():
    assert mirror("jaxssd/ops/nms.py") == "tests/ops/test_nms.py"
    assert mirror("jaxssd/data/formats/coco/file.py") == "tests/data/formats/coco/test_file.py"
