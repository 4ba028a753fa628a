"""What the package promises as a whole: a light import, pure rooms, examples that run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxssd

PACKAGE = Path(jaxssd.__file__).parent
MODULES = sorted(module.name for module in pkgutil.walk_packages([str(PACKAGE)], "jaxssd."))


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_light():
    """Neither the network's nor the figures' libraries are loaded, and little CPU time goes beyond `import jax`."""
    loaded, seconds = run_python(
        "import jax, sys, time\n"
        "start = time.process_time(); import jaxssd; seconds = time.process_time() - start\n"
        "heavy = {'flax', 'tensorflow', 'matplotlib', 'orbax', 'torch', 'PIL', 'tyro'} & set(sys.modules)\n"
        "print(sorted(heavy), seconds, sep='|')"
    ).split("|")
    assert loaded == "[]"
    assert float(seconds) < 0.9


@pytest.mark.parametrize("file", sorted((PACKAGE / "ops").glob("*.py")), ids=lambda file: file.name)
def test_ops_import_only_arrays(file):
    allowed = {"jax", "jaxtyping", "numpy", "optax", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        for name in names:
            assert name.split(".")[0] in allowed or name.startswith("jaxssd.ops"), f"{file.name} imports {name}"


LEAVES = {"atomic", "cache_folder", "config", "presets", "registry", "sealed"}
BELOW = {
    "metrics": {"ops"},
    "models": {"ops"},
    "data": {"ops"},
    "tasks": {"ops", "metrics", "models", "data"},
    "viz": {"ops", "metrics", "data", "tasks"},
    "training": {"ops", "models", "data", "tasks", "viz"},
}
"""Rooms that each room may import; figures only inside functions, so that matplotlib comes with the first of them."""


@pytest.mark.parametrize("room", BELOW)
def test_no_import_runs_back_up(room):
    for file in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("jaxssd."):
                continue
            other, where = str(node.module).split(".")[1], f"{file.relative_to(PACKAGE)}:{node.lineno}"
            assert other in {room} | LEAVES | BELOW[room] or file.name == "__main__.py", f"{where} imports {other}"
            assert other != "viz" or room == "viz" or node.col_offset, f"{where} imports figures at once"


def test_public_names():
    promised = """box_area box_iou generalized_box_iou to_corners to_center_size clip_boxes make_anchors ssd300_anchors
        decode_tanh encode_offsets decode_offsets match_anchors bce_loss focal_loss ssd_loss hard_negative_mask nms
        multiclass_nms average_precision Anchors Match SSDLoss NMSResult Detections"""
    assert set(promised.split()) <= set(jaxssd.__all__)
    assert all(hasattr(jaxssd, name) for name in jaxssd.__all__)
    assert len(set(jaxssd.__all__)) == len(jaxssd.__all__)


@pytest.mark.parametrize(
    "name", [name for name in jaxssd.__all__ if inspect.isfunction(inspect.unwrap(getattr(jaxssd, name)))]
)
def test_public_functions_have_an_example(name):
    documentation = inspect.getdoc(getattr(jaxssd, name))
    assert ">>> " in documentation
    for section in ("Args:", "Returns:", "Example:"):
        if section != "Args:" or inspect.signature(getattr(jaxssd, name)).parameters:
            assert section in documentation


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    """Found in the source rather than by `doctest`'s search, which does not see into wrapped functions."""
    module = importlib.import_module(name)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        text = ast.get_docstring(node)
        if text and ">>> " in text:
            label = f"{name}.{getattr(node, 'name', '')}"
            test = doctest.DocTestParser().get_doctest(
                text, dict(vars(module)), label, module.__file__, node.body[0].lineno
            )
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
            runner.run(test)
            assert runner.failures == 0, f"the example of {label} fails"


def test_wrong_shapes_name_the_argument_without_the_tests_type_checker():
    message = run_python(
        "import jax.numpy as jnp, jaxssd\n"
        "try: jaxssd.box_iou(jnp.zeros((2, 4)), jnp.zeros((3, 5)))\n"
        "except ValueError as error: print(error)"
    )
    assert message.strip() == "box_iou: `b` has shape (3, 5), expected [M, 4]"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_either_library_are_taken(dtype):
    boxes = np.array([[0.0, 0.0, 0.5, 0.5]], dtype)
    assert jaxssd.box_iou(boxes, boxes).dtype == np.float32
    np.testing.assert_array_equal(jaxssd.box_iou(boxes, boxes), jaxssd.box_iou(jax.numpy.asarray(boxes), boxes))
