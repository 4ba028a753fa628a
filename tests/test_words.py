"""The rules of the words, and that the rooms keep them."""

import textwrap

import pytest

from tests import words


def found(tmp_path, source, name="jaxssd/file.py"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))
    return [(offence.line, offence.text) for offence in words.offences(file, tmp_path)]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('"""What the command line says."""', 1),
        ('"""The same for labels."""', 1),
        ('"""Whether it is `x`."""', 1),
        ('def f():\n    """As it is."""', 2),
        ('class A:\n    b: int = 1\n    """How many."""', 3),
        ('"""Boxes"""', 1),
        ('"""Boxes\nand labels."""', 1),
        ('"""Boxes.\nLabels."""', 2),
        ('"""Boxes.\n\nArgs:\n    a: of the image.\n"""', 4),
        ('"""Boxes.\n\nArgs:\n    a: of boxes\n        as corners.\n    b (int): how many.\n"""', 6),
        ('"""Boxes.\n\nReturns:\n    What is left.\n"""', 4),
        ("# of boxes", 1),
        ("x = 1  # as it was", 1),
        ("raise ValueError(f'of {x}')", 1),
        ("raise ValueError('what')", 1),
        ("unfrozen = 1", 1),
        ("def with_twins(): pass", 1),
        ("class FeedOpen: pass", 1),
        ("HARD_NEGATIVES = 3", 1),
        ("meet()", 1),
    ],
)
def test_an_offence_is_found_at_its_line(tmp_path, source, line):
    lines = [number for number, _ in found(tmp_path, source)]
    assert line in lines


@pytest.mark.parametrize(
    "source",
    [
        '"""Boxes of an image."""',
        '"""Boxes.\n\nAs corners.\n"""',
        '"""Boxes.\n\nArgs:\n    a: boxes\n        of an image.\n\nReturns:\n    Boxes,\n    as corners.\n"""',
        "# boxes\n# of an image",
        "x = 1  # boxes\n       # of an image",
        "text = 'of an image'",
        "asked = official = however = 1",
        "test_twins = 1",
        "meeting = at_least = fed = 1",
    ],
)
def test_what_keeps_the_rules_is_left_alone(tmp_path, source):
    assert not found(tmp_path, source)


def test_options_have_a_short_help_text(tmp_path):
    source = f"""
        @dataclass(frozen=True)
        class Config:
            a: int = 1
            b: int = 2
            "Number of boxes."
            c: int = 3
            "Number of {"many " * 20}boxes."
            d: Annotated[int, tyro.conf.arg(help="Number of boxes.")] = 4
            e: Other = Other()

        @dataclass
        class Other:
            f: int
    """
    texts = found(tmp_path, source, words.SETTINGS)
    assert [line for line, text in texts if "has no help text" in text] == [4, 14]
    assert [line for line, text in texts if "help text of c" in text] == [7]
    assert not found(tmp_path, source, "jaxssd/other.py")
    assert len(found(tmp_path, source.replace("Other:", "Command:"), "benchmarks/other.py")) == 1


def test_prose_of_tests_is_free(tmp_path):
    assert not found(tmp_path, '"""What is left"""', "tests/file.py")
    assert found(tmp_path, "twin = 1", "tests/file.py")


def test_rooms_keep_the_rules():
    listed = [offence for file in words.files() for offence in words.offences(file)]
    assert not listed, "\n".join(map(str, listed))
