"""Rooms of the package: which may import which, and how much a training run imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxssd"

ROOMS = ("ops", "config", "metrics", "models", "data", "tasks", "training", "inference", "viz", "tools")
"""Each may import those before it. Figures are drawn by imports inside functions, so that matplotlib comes last."""

REGISTRIES = {"jaxssd.models", "jaxssd.data", "jaxssd.tasks"}
"""Names of the parts that the command line offers, without the parts: settings are checked against them."""

MOST_LINES, MOST_FILES = 9000, 60


def room_of(module: str) -> str | None:
    """`ops` for `jaxssd.ops.boxes`; None for a module beside the rooms, such as `jaxssd.atomic`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def imported(file: Path) -> set[str]:
    """Modules of the package that are imported when a file is: not those inside functions or for type checkers."""
    found, pending = set(), list(ast.parse(file.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxssd"):
            # `from jaxssd import viz` imports a room, `from jaxssd.viz import style` a module of it
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("jaxssd")}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_import_runs_back_up(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    own = room_of(".".join(parts))
    if own is None or parts[-1] == "__main__":  # a command is no part of a room: nothing imports it
        return
    for module in imported(file):
        room = room_of(module)
        names = module in REGISTRIES or (
            module.rpartition(".")[0] in REGISTRIES and module.rpartition(".")[2].isupper()
        )
        if room is not None and not names:
            assert ROOMS.index(room) <= ROOMS.index(own), f"{own} imports {module}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_private_names_stay_in_their_room(file):
    own = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
    for module in imported(file):
        private = any(part.startswith("_") and not part.startswith("__") for part in module.split("."))
        assert not private or room_of(module) == own, module


def test_what_a_training_run_imports_is_small():
    """Files and lines after `train.py --help`, and no matplotlib: a stranger can read them."""
    code = (
        "import sys, runpy, pathlib\n"
        "sys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "files = {m.__file__ for n, m in list(sys.modules.items()) if n.split('.')[0] == 'jaxssd' and m.__file__}\n"
        "lines = sum(len(pathlib.Path(file).read_text().splitlines()) for file in files)\n"
        "print(len(files), lines, 'matplotlib' in sys.modules, 'tensorflow' in sys.modules, file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files, lines, matplotlib, tensorflow = result.stderr.split()
    assert int(files) <= MOST_FILES
    assert int(lines) <= MOST_LINES
    assert (matplotlib, tensorflow) == ("False", "False")
