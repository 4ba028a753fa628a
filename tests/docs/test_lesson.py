"""`docs/lesson.md` says what is so: its code is the package's, its pictures exist, its commands run."""

import doctest
import importlib.util
import re
import sys
import textwrap
from pathlib import Path

import pytest
import tyro

from jaxssd.data import load as data_load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "lesson.md").read_text()
TINY = ["--image-size", "32", "--head-width", "8", "--batch-size", "8", "--epochs", "1", "--augment", "none"]
FEW = {"train": 8, "val": 8, "test": 8}


def load(path):
    """A script as a module; it stays known under its name, where its type hints are looked up."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIGURES, TRAIN, EVALUATE = (load(ROOT / name) for name in ("docs/figures.py", "train.py", "evaluate.py"))
COMMANDS = FIGURES.commands(TEXT)
SMALL = FIGURES.small_commands(TEXT)
QUOTES = re.findall(r"^\[`([^`]+)`\]\(\.\./([^)]+)\)\n\n```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_all_code_names_its_file():
    assert len(QUOTES) == TEXT.count("```python\n")
    assert len(QUOTES) > 20


@pytest.mark.parametrize(("name", "link", "code"), QUOTES)
def test_code_is_quoted_verbatim(name, link, code):
    assert name == link
    quoted = code.splitlines()
    source = (ROOT / name).read_text().splitlines()
    windows = (source[start : start + len(quoted)] for start in range(len(source)))
    assert any(textwrap.dedent("\n".join(window)).splitlines() == quoted for window in windows)


def test_the_worked_example():
    runner = doctest.DocTestRunner()
    for block in re.findall(r"^```pycon\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        runner.run(doctest.DocTestParser().get_doctest(block, {}, "lesson.md", None, 0))
    assert runner.summarize().attempted > 5
    assert runner.summarize().failed == 0


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in headings_of(TEXT)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


def headings_of(markdown):
    return re.findall(r"^#+ .*$", re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)


def test_pictures_are_those_that_are_made_and_small():
    shown = re.findall(r"\]\(images/lesson-(.*?)\.png\)", TEXT)
    assert sorted(shown) == sorted(FIGURES.PICTURES)
    kept = {path.name: path.stat().st_size for path in (ROOT / "docs/images").glob("lesson-*.png")}
    assert sorted(kept) == sorted(f"lesson-{name}.png" for name in shown)
    assert max(kept.values()) <= FIGURES.MOST_BYTES


def test_every_number_is_filled_in():
    assert re.findall(r"TODO\S*", TEXT) == []


def test_there_is_a_small_and_a_real_command_for_each_stage():
    stages = ["largest_box", "largest_object", "multilabel", "anchors16", "anchors189", "focal"]
    real = [words[2] for words in COMMANDS if FIGURES.PLACEHOLDER in words]
    trained = [words[2] for words in SMALL if words[1] == "train.py" and not {"--find-lr", "--pretrained"} & set(words)]
    assert real == trained == stages


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_parse(words):
    match words:
        case ["python", "train.py", *arguments]:
            preset, _ = TRAIN.parse(arguments)
            assert preset == arguments[0]
        case ["python", "evaluate.py", *arguments]:
            tyro.cli(EVALUATE.Command, args=arguments)
        case _:
            assert words == ["source", ".venv/bin/activate"]


@pytest.fixture(scope="module")
def walk(shared_programs, tmp_path_factory):
    """A folder to walk in, with few generated pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("walk"))
        patch.setattr(data_load, "SHAPES_IMAGES", FEW)
        yield


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("words", SMALL, ids=" ".join)
def test_small_commands_run(words):
    """In the order of the document: those that evaluate need the runs of those before."""
    _, script, *arguments = words
    if script == "train.py":
        TRAIN.main([*arguments, *TINY])
    else:
        EVALUATE.main(arguments)


@pytest.mark.usefixtures("walk")
def test_the_walk_made_what_the_pictures_are_made_from():
    for source in FIGURES.PICTURES.values():
        assert Path("runs", source).exists()
