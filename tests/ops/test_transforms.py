"""Every public function under every transformation and every kind of input: the rows of `rows.py`, a test a promise.

Sharding is in `two_devices.py`, which runs here in a process of its own.
"""

import inspect
import os
import pickle
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxssd
from jaxssd.ops.matching import RULES
from tests.ops.optimized import optimized
from tests.ops.rows import ACTIVATIONS, ANCHORS, BOXES, FEW, LABELS, LOGITS, ROWS, VALID

EVERY = pytest.mark.parametrize("name", ROWS)


def same(got, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), got, expected)


def test_every_public_function_has_a_row():
    functions = {name for name in jaxssd.__all__ if inspect.isfunction(inspect.unwrap(getattr(jaxssd, name)))}
    with_row = {name.partition(",")[0] for name in ROWS}
    assert functions == with_row | {"identity_augmentation", "average_precision"}


def test_those_that_take_no_array_or_are_for_the_host():
    same(jax.jit(jaxssd.identity_augmentation)(), jaxssd.identity_augmentation())
    curve = [0.5, 1.0], [1, 0.5]
    expected = jaxssd.average_precision(*curve)
    for kind in (np.array, np.float32, jnp.array, partial(jnp.array, dtype=jnp.bfloat16)):
        assert jaxssd.average_precision(*map(kind, curve)) == expected
    assert jaxssd.average_precision([], []) == 0
    with pytest.raises(TypeError, match=r"average_precision: `recall` is traced"):
        jax.jit(jaxssd.average_precision)(*map(jnp.array, curve))


@cache
def eager(name):
    """What the row's function returns outside of any transformation."""
    row = ROWS[name]
    return row.with_settings()(*row.arguments)


@cache
def every_way(name):
    """One compiled program of (arguments, settings, others): the function under each transformation.

    `others` are other values of the settings. One `vmap` sweeps them: first the settings, then each in turn changed,
    in the order of their names.
    """
    row, function = ROWS[name], ROWS[name].with_settings()

    def program(arguments, settings, others):
        batch = jax.tree.map(lambda x: jnp.stack([x, x]), arguments)
        nested = jax.vmap(jax.vmap(function))(*jax.tree.map(lambda x: x[None], batch))
        scanned = jax.lax.scan(lambda _, x: (0, jax.checkpoint(function)(*x)), 0, batch)[1]

        def swept():
            def values(name):
                value = jnp.asarray(settings[name], jnp.float32)
                return jnp.stack([value, *(others[name] if changed == name else value for changed in sorted(settings))])

            swept = {name: values(name) for name in settings}
            return jax.vmap(lambda values: row.function(*arguments, **row.keywords, **values))(swept)

        return {
            "settings traced": row.function(*arguments, **row.keywords, **settings),
            "vmap": jax.tree.map(lambda x: x[0, 1], nested),
            "scan": jax.tree.map(lambda x: x[0], scanned),
            "swept": swept() if settings else None,
        }

    return jax.jit(program)


def others(row):
    """Half of each setting, or twice a whole number."""
    return {
        setting: np.float32(value) * (2 if isinstance(value, int) else 0.5) for setting, value in row.settings.items()
    }


@EVERY
def test_jit_as_everybody_compiles_it_agrees_with_eager(name):
    row = ROWS[name]
    same(jax.device_get(optimized(row.with_settings())(*row.arguments)), eager(name))


@EVERY
def test_jit_settings_vmap_scan_and_checkpoint_agree_with_eager(name):
    row = ROWS[name]
    found = jax.device_get(every_way(name)(row.arguments, dict(row.settings), others(row)))
    for way in ("settings traced", "vmap", "scan"):
        same(found[way], eager(name))


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].settings])
def test_settings_are_swept_by_vmap(name):
    row, program = ROWS[name], every_way(name)
    swept = jax.device_get(program(row.arguments, dict(row.settings), others(row))["swept"])
    same(jax.tree.map(lambda x: x[0], swept), eager(name))
    for place, (setting, other) in enumerate(sorted(others(row).items()), start=1):
        # Of the type that the program is compiled for.
        value = tuple(map(float, other)) if other.ndim else type(row.settings[setting])(other)
        alone = program(row.arguments, row.settings | {setting: value}, others(row))["settings traced"]
        same(jax.tree.map(lambda x, place=place: x[place], swept), alone)


@cache
def of_two_images(name):
    """Values and gradients of a batch from one compiled program, and the first image's gradients under `checkpoint`."""
    row = ROWS[name]
    again = row._replace(function=jax.checkpoint(row.with_settings()), settings={}, keywords={})

    @jax.jit
    def both(arguments, batch):
        under_checkpoint = again.value_and_gradients()(*arguments)[1] if row.gradients else None
        return jax.vmap(row.value_and_gradients())(*batch), under_checkpoint

    return jax.device_get(both(row.arguments, row.batch()))


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].gradients])
def test_gradients_are_finite_and_the_same_under_checkpoint(name):
    (_, gradients), under_checkpoint = of_two_images(name)
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))
    same(under_checkpoint, jax.tree.map(lambda x: x[0], gradients))


def required(row):
    """Settings without a default."""
    parameters = inspect.signature(inspect.unwrap(row.function)).parameters
    return {
        name: value
        for name, value in row.settings.items()
        if name in parameters and parameters[name].default is inspect.Parameter.empty
    }


@EVERY
def test_lists_masks_and_half_precision(name):
    row = ROWS[name]
    function = partial(inspect.unwrap(row.function), **row.keywords, **required(row))
    expected = function(*row.arguments)
    same(function(*[x.tolist() if isinstance(x, np.ndarray) else x for x in row.arguments]), expected)
    are_masks = not name.startswith(("bce", "focal"))  # whose targets are numbers
    ints = [2 * x.astype(np.int32) if are_masks and getattr(x, "dtype", None) in (bool,) else x for x in row.arguments]
    same(function(*ints), expected)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if _is_float(x) else x, row.arguments)
    floats = [x for x in jax.tree.leaves(function(*half)) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(x.dtype == jnp.float32 for x in floats)
    if "ssd_loss" not in name:
        same(
            function(*half), function(jax.tree.map(lambda x: jnp.float32(x) if _is_half(x) else x, half[0]), *half[1:])
        )


@EVERY
def test_what_is_no_array_names_function_and_argument(name):
    row, function = ROWS[name], inspect.unwrap(ROWS[name].function)
    argument = next(iter(inspect.signature(function).parameters))
    for wrong in (None, "boxes", [[0.0], [1.0, 2.0]], np.array([1j]), object()):
        with pytest.raises((TypeError, ValueError), match=f"^{name.partition(',')[0]}: `{argument}`"):
            function(wrong, *row.arguments[1:], **row.keywords, **required(row))


@EVERY
def test_strict_promotion_in_x64(name):
    row = ROWS[name]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        wide = jax.tree.map(lambda x: np.float64(x) if _is_float(x) else x, row.arguments)
        output = jax.jit(row.with_settings()).lower(*wide).out_info  # promotion shows in tracing and lowering
    floats = [x for x in jax.tree.leaves(output) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(x.dtype == (jnp.float64 if row.keeps_float64 else jnp.float32) for x in floats)


def _is_float(x):
    return getattr(x, "dtype", None) == np.float32


def _is_half(x):
    return getattr(x, "dtype", None) == jnp.bfloat16


def traced(function, *constants, **keywords):
    """What a function returns of known values, which it still checks, from one compiled program."""
    return jax.device_get(jax.jit(partial(function, *constants, **keywords))())


def test_zero_sizes():
    none, row = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    no_anchors = jaxssd.Anchors(none, none, none[:, :1])
    assert traced(inspect.unwrap(jaxssd.box_iou), [], BOXES).shape == (0, 4)
    assert not traced(inspect.unwrap(jaxssd.nms), [], [], **FEW).valid.any()
    assert not traced(inspect.unwrap(jaxssd.multiclass_nms), [], none[:, :3], **FEW).valid.any()
    for rule in RULES:
        assert traced(jaxssd.match_anchors, none, BOXES, VALID, rule=rule).positive.shape == (0,)
        assert not traced(jaxssd.match_anchors, ANCHORS.corners, none, row > 0, rule=rule).positive.any()
        assert traced(jaxssd.ssd_loss, none[:, :3], none, BOXES, LABELS, VALID, no_anchors, rule=rule).total == 0
    loss = traced(inspect.unwrap(jaxssd.ssd_loss), LOGITS, ACTIVATIONS, [], [], [], ANCHORS)
    assert loss.localization == 0
    no_class = traced(jaxssd.ssd_loss, LOGITS[:, :0], ACTIVATIONS, BOXES, LABELS, np.zeros(4, bool), ANCHORS)
    assert no_class.classification == 0


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].sizes])
def test_export_with_symbolic_sizes(name):
    row, scope = ROWS[name], jax.export.SymbolicScope()

    def shape(form, x):
        if x is None:
            return None
        if isinstance(x, tuple):
            return type(x)(*map(shape, form or [None] * len(x), x))
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(form, scope=scope) if form else x.shape, x.dtype)

    exported = jax.export.export(jax.jit(row.with_settings()))(*map(shape, row.sizes, row.arguments))
    found = exported.call(*row.arguments)
    same(found, eager(name))
    assert type(found) is type(eager(name))


@pytest.mark.parametrize(
    "name",
    [
        "Anchors",
        "Augmentation",
        "ColorDistortion",
        "Match",
        "Targets",
        "SSDLoss",
        "NMSResult",
        "SoftNMSResult",
        "Detections",
    ],
)
def test_records_are_known_to_export(name):
    """Writing itself needs a library that JAX does not bring along; a record is registered once."""
    with pytest.raises(ValueError, match="uplicate"):
        jax.export.register_namedtuple_serialization(getattr(jaxssd, name), serialized_name=f"again.{name}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padding_with_nan_does_not_stop_debug_nans(dtype):
    boxes = np.where(VALID[:, None], BOXES, np.nan).astype(dtype)
    with jax.debug_nans(True):
        for rule in RULES:
            jaxssd.match_anchors(ANCHORS.corners, boxes, VALID, rule=rule)
            jax.grad(lambda x, rule=rule: jaxssd.ssd_loss(x, ACTIVATIONS, boxes, LABELS, VALID, ANCHORS, rule=rule)[0])(
                jnp.asarray(LOGITS)
            )
        jaxssd.nms(boxes, np.where(VALID, LOGITS[:, 0], np.nan).astype(dtype), VALID, **FEW)
        jaxssd.multiclass_nms(boxes, np.where(VALID[:, None], LOGITS, np.nan).astype(dtype), **FEW)


@pytest.mark.parametrize("function", [jaxssd.box_iou, jaxssd.generalized_box_iou])
def test_tiny_and_unknown_boxes(function):
    gradients, value = jax.jit(jax.jacobian(function, argnums=(0, 1))), jax.jit(function)
    for side in (1e-20, 1e-15, 1e-10, 1.0):
        boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0.5, 1, 2], [3, 3, 4, 4]], np.float32) * np.float32(side)
        mixed = np.array([[0, 0, side, 1], [0, 0, 1, side], [0, 0, side, side], [0, 0, 1, 1]], np.float32)
        assert np.asarray(value(boxes, boxes))[0, 0] == 1
        for a, b in ((boxes, boxes), (boxes, mixed), (mixed, mixed)):
            assert all(np.isfinite(x).all() for x in gradients(a, b))
    assert np.isnan(value(np.full((4, 4), np.nan, np.float32), BOXES)).all()


JITTED_LOSSES = {
    "default": jax.jit(jaxssd.ssd_loss),
    "offsets": jax.jit(partial(jaxssd.ssd_loss, box_coder=jaxssd.OFFSET_CODER)),
    "hard negatives": jax.jit(partial(jaxssd.ssd_loss, negative_ratio=1)),
}


@pytest.mark.parametrize("name", JITTED_LOSSES)
@pytest.mark.parametrize("valid", [VALID, np.zeros(4, bool)])
def test_a_nan_in_a_prediction_is_a_nan_in_the_loss(name, valid):
    loss = JITTED_LOSSES[name]
    assert np.isfinite(loss(LOGITS, ACTIVATIONS, BOXES, LABELS, valid, ANCHORS).total)
    for anchor in range(4):
        spoilt = LOGITS.copy(), ACTIVATIONS.copy()
        spoilt[0][anchor, 1] = spoilt[1][anchor, 2] = np.nan
        assert np.isnan(loss(spoilt[0], ACTIVATIONS, BOXES, LABELS, valid, ANCHORS).total)
        assert np.isnan(loss(LOGITS, spoilt[1], BOXES, LABELS, valid, ANCHORS).total)


def total(*arguments):
    return jaxssd.ssd_loss(*arguments).total


TOTAL_AND_GRADIENT = jax.jit(jax.value_and_grad(total))
CHECKED_TOTAL = jax.jit(checkify.checkify(total))


def with_label(label):
    return np.where(LABELS == 2, label, LABELS).astype(np.int32)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_of_no_class_is_never_background(label):
    arguments = (LOGITS, ACTIVATIONS, BOXES, with_label(label), VALID, ANCHORS)
    with pytest.raises(ValueError, match=f"assign_targets: `gt_labels` has {label} in a valid row"):
        jaxssd.ssd_loss(*arguments)
    value, gradient = TOTAL_AND_GRADIENT(*arguments)
    assert np.isnan(value)
    assert np.isnan(gradient).any()
    assert "gt_labels" in CHECKED_TOTAL(*arguments)[0].get()
    assert CHECKED_TOTAL(LOGITS, ACTIVATIONS, BOXES, LABELS, VALID, ANCHORS)[0].get() is None
    with_known_labels = jax.jit(lambda valid: total(*arguments[:4], valid, ANCHORS))
    assert "gt_labels" in checkify.checkify(with_known_labels)(VALID)[0].get()


@pytest.mark.parametrize("rule", RULES)
def test_no_index_is_out_of_bounds(rule):
    """Of one image: checkify's own check of a batched gather fails in this version of JAX."""
    loss = jax.jit(lambda *image: jaxssd.ssd_loss(*image, ANCHORS, rule=rule).total)
    error, _ = checkify.checkify(loss, errors=checkify.index_checks)(LOGITS, ACTIVATIONS, BOXES, LABELS, VALID)
    assert error.get() is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("errors", [checkify.user_checks, checkify.nan_checks])
def test_checkify_takes_a_batch(rule, errors):
    def batch_total(logits, *truth):
        of_each = jax.vmap(lambda *image: jaxssd.ssd_loss(*image, ANCHORS, rule=rule, negative_ratio=2).total)
        return of_each(logits, np.stack([ACTIVATIONS] * 2), *truth).sum()

    batch = [np.stack([x, x[::-1]]) for x in (LOGITS, BOXES, LABELS, VALID)]
    check = checkify.checkify(jax.jit(jax.value_and_grad(batch_total)), errors=errors)
    assert check(*batch)[0].get() is None
    if errors is checkify.user_checks:
        batch[2] = batch[2] - 1
        assert "gt_labels" in check(*batch)[0].get()


@pytest.mark.parametrize("errors", [checkify.user_checks, checkify.nan_checks])
def test_checkify_takes_a_batch_of_nms(errors):
    boxes, logits = (np.stack([x, x[::-1]]) for x in (BOXES, LOGITS))
    suppress = checkify.checkify(jax.jit(jax.vmap(partial(jaxssd.nms, **FEW))), errors=errors)
    assert suppress(boxes, logits[..., 0])[0].get() is None


@pytest.mark.parametrize("name", ["class_loss", "box_coder.decode", "box_coder.encode"])
def test_a_function_that_reduces_is_named(name):
    def reduced(x, y):
        return jnp.mean(x)

    keyword, _, field = name.partition(".")
    wrong = {keyword: jaxssd.TANH_CODER._replace(**{field: reduced}) if field else reduced}
    with pytest.raises(ValueError, match=f"detection_loss: `{name}` returned an array of shape"):
        jaxssd.ssd_loss(*ROWS["ssd_loss"].arguments, **wrong)


def test_settings_out_of_range_and_sizes_that_are_traced_are_named():
    for setting, wrong in {"alpha": 1.5, "gamma": -1.0}.items():
        with pytest.raises(ValueError, match=f"focal_loss: `{setting}` is"):
            jaxssd.focal_loss(LOGITS, LOGITS > 0, **{setting: wrong})
    weighted = (jaxssd.focal_loss(LOGITS, LOGITS > 0, alpha=a) for a in (None, 0.5))
    np.testing.assert_allclose(next(weighted), 2 * next(weighted), rtol=1e-6)
    with pytest.raises(ValueError, match="nms: `iou_threshold` has shape"):
        jaxssd.nms(BOXES, LOGITS[:, 0], iou_threshold=jnp.array([0.5]))


def test_anchors_of_traced_sizes():
    same(jax.jit(lambda z, r: jaxssd.make_anchors((2, 1), z, r))((0.5, 1.0), ((1.0, 0.5),)),
         jaxssd.make_anchors((2, 1), (0.5, 1.0), ((1.0, 0.5),)))  # fmt: skip


def test_on_two_devices(tmp_path):
    """In a process of its own, which compares with what one device gives here; types are checked here too."""
    expected = tmp_path / "expected.pickle"
    expected.write_bytes(pickle.dumps({name: of_two_images(name)[0] for name in ROWS}))
    options = ["-q", "-p", "no:cacheprovider", "--noconftest"]
    command = [sys.executable, "-m", "pytest", *options, "tests/ops/two_devices.py"]
    flags = f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"
    environment = os.environ | {"XLA_FLAGS": flags, "EXPECTED_OF_TWO_IMAGES": str(expected)}
    environment |= {"JAX_NUMPY_RANK_PROMOTION": "raise"}
    result = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
