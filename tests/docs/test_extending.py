"""`docs/extending.md`: its code runs in order, as in one notebook, and every model that it trains learns."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxssd.data import AUGMENTATIONS
from jaxssd.data.formats.registry import FORMATS
from jaxssd.models import HEADS
from jaxssd.training import Checkpoints

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    for section in TEXT.split("\n## ")[1:]
}
TRAINED = [name for name in SECTIONS if name != "The step"]
LINES = 30
"""Most lines of code in a block."""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Run a section and those before it, each once; gives the names that are known then."""
    names, run = {"__name__": "notebook", "states": {}}, []
    folder = tmp_path_factory.mktemp("notebook")
    registered = {registry: dict(registry._parts) for registry in (HEADS, FORMATS, AUGMENTATIONS)}

    def run_to(section):
        for name in list(SECTIONS)[: list(SECTIONS).index(section) + 1]:
            for code in SECTIONS[name] if name not in run else ():
                exec(compile(code, f"extending.md, {name}", "exec"), names)
            run.append(name)
            names["states"][name] = names.get("state")
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("JAXSSD_CACHE", str(folder / "cache"))
        yield run_to
    for registry, parts in registered.items():
        registry._parts.clear()
        registry._parts.update(parts)


@pytest.mark.parametrize("section", TRAINED)
def test_what_is_built_there_learns(notebook, section):
    names = notebook(section)
    losses = np.array(names["losses"])
    assert losses[-3:].mean() < 0.8 * losses[:3].mean(), losses


def test_blocks_are_short_and_sections_have_links():
    for name, blocks in SECTIONS.items():
        assert blocks, name
        for code in blocks:
            assert sum(bool(line.strip()) for line in code.splitlines()) <= LINES, name
    anchors = {name.lower().replace(" ", "-") for name in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_a_state_of_any_tree_is_saved(notebook):
    """NNX has nodes of its own."""
    state = notebook("A Flax NNX model")["states"]["A Flax NNX model"]
    with Checkpoints(Path("nnx")) as checkpoints:
        checkpoints.save(20, state, score=0.0)
    with Checkpoints(Path("nnx"), read_only=True) as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(20, state), state)
