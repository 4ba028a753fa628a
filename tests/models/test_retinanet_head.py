"""RetinaNet's head: published sizes, rows in the order of the anchors, towers that the levels share, training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.models import BACKBONES
from jaxssd.models.detector import Detector, make_detector
from jaxssd.models.resnet import ResNet
from jaxssd.models.retinanet_head import RetinaNetHead, Tower
from jaxssd.tasks.task import make_task
from jaxssd.training.optimizer import group_labels
from tests.models.test_resnet import numpy_conv, numpy_norm

HEAD = RetinaNetHead(num_classes=2, levels=2, num_grids=3, boxes_per_cell=2, width=4, depth=1, prior_probability=0.01)
SIZES = ((5, 3), (3, 2), (2, 1))
ROWS = 2 * sum(rows * columns for rows, columns in SIZES)


def shapes_of(model, *inputs):
    return jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), *inputs)


def images_of(*size, batch=1):
    return jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)


def filled(shapes):
    rng = np.random.default_rng(1)

    def fill(path, x):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
        return rng.normal(0, 1 / np.sqrt(max(np.prod(x.shape[:3]), 4)), x.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, *size, 3)).astype(np.float32) for size in SIZES[:2]]


@pytest.fixture(scope="module")
def variables(maps):
    return filled(shapes_of(HEAD, maps)[1])


@partial(jax.jit, static_argnames="dtype")
def train(variables, maps, dtype=jnp.float32):
    """Predictions, new statistics, and the gradients of a loss."""

    def loss(params):
        given = {**variables, "params": params}
        predictions, updates = HEAD.clone(dtype=dtype).apply(given, maps, train=True, mutable=["batch_stats"])
        return sum(jnp.mean((x - 1) ** 2) for x in predictions), (predictions, updates["batch_stats"])

    (total, (predictions, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return predictions, stats, gradients, total


# Sizes


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        # The number of retinanet_resnet50_fpn_coco leaves out the scales and biases of ResNet50's BatchNorm, which are
        # frozen there.
        ({"norm": "none"}, 34_014_999 + 53_120),
        ({"norm": "group", "extra_from_backbone": True}, 38_198_935),  # retinanet_resnet50_fpn_v2_coco
    ],
)
def test_parameters_are_as_many_as_published(settings, published):
    detector = make_detector(num_classes=91, backbone="resnet50", head="retinanet", **settings)
    predictions, variables = shapes_of(detector, images_of(800, 1333))
    params = variables["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == published
    norms = [p["scale"].size + p["bias"].size for p in _modules(params["backbone"]) if "scale" in p]
    assert sum(norms) == 53_120
    cells = sum(-(-800 // 2**level) * -(-1333 // 2**level) for level in range(3, 8))
    assert predictions.class_logits.shape == (1, 9 * cells, 91)
    assert set(params["head"]) == {"fpn", "class_tower", "box_tower", "out_conv"}


def _modules(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield value
            yield from _modules(value)


@pytest.mark.parametrize(
    ("backbone", "levels", "size", "maps"),
    [
        ("resnet_tiny", (3,), 64, 1),
        ("resnet_tiny", (3, 4, 5, 6), 100, 1),
        ("resnet_small", (2, 3, 4, 5), (50, 70), 3),
        ("resnet34", (3, 4), (97, 65), 3),  # the last map enters the pyramid, without anchors of its own
        ("resnet34_ssd300", (2, 3, 4), 61, 2),  # two stages of one stride are one level
    ],
)
def test_every_backbone_and_size_gives_a_row_an_anchor(backbone, levels, size, maps):
    config = Config.of(
        head="retinanet", backbone=backbone, levels=levels, image_size=size, classes=("a",), head_width=8, tower_depth=1
    )
    task = make_task(config)
    assert task.model.head.levels == maps
    predictions, _ = shapes_of(task.model, images_of(*config.dataset.input_shape))
    assert predictions.box_activations.shape == (1, *task.anchors.corners.shape)
    assert predictions.class_logits.shape == (1, len(task.anchors.corners), 1)


def test_settings_reach_the_layers():
    config = Config.of(
        head="retinanet",
        backbone="resnet_small",
        levels=(3, 4, 5),
        zooms=(4.0, 5.0),
        ratios=((1.0, 1.0),),
        head_width=8,
        tower_depth=2,
        tower_norm="group",
        prior_probability=0.01,
    )
    assert RetinaNetHead(num_classes=1, **RetinaNetHead.settings(config)) == RetinaNetHead(
        num_classes=1, levels=2, num_grids=3, boxes_per_cell=2, width=8, depth=2, norm="group", prior_probability=0.01
    )


@pytest.mark.parametrize("finest", [1, 4])
def test_a_level_that_the_backbone_lacks_is_named_with_those_it_has(finest):
    config = Config.of(head="retinanet", backbone="resnet_tiny", levels=(finest, finest + 1))
    with pytest.raises(ValueError, match=rf"--levels starts at {finest}, expected one of 2, 3: .*cells of 4, 8"):
        RetinaNetHead.settings(config)


@pytest.mark.parametrize("levels", [(), (3, 5), (4, 3), (3, 3), (0, 1), (12, 13)])
def test_levels_rise_without_a_gap(levels):
    with pytest.raises(ValueError, match=r"--levels is .*expected rising numbers without a gap"):
        Config.of(levels=levels)


def test_another_number_of_maps_is_an_error(maps):
    with pytest.raises(ValueError, match="RetinaNetHead: 1 maps, expected 2"):
        shapes_of(HEAD, maps[:1])
    with pytest.raises(ValueError, match=r"`levels` is 3, expected 1 to 2: it has strides \(4, 8\)"):
        shapes_of(Detector(BACKBONES["resnet_tiny"](), HEAD.clone(levels=3)), images_of(32, 32))


def test_all_of_it_is_in_the_group_of_the_head():
    detector = Detector(ResNet((1, 1), width=4), HEAD)
    params = shapes_of(detector, images_of(32, 32))[1]["params"]
    groups = group_labels(params, detector.backbone.num_stages)
    assert set(jax.tree.leaves(groups["head"])) == {"head"}
    assert set(jax.tree.leaves(groups["backbone"])) == {"lower", "upper"}


# Order


def test_rows_are_level_row_column_box():
    """Maps hold the pixel of their cell's corner; identities and every second cell carry it to the rows."""
    grids, strides = ((3, 5), (2, 3), (1, 2)), (8, 16, 32)
    head = RetinaNetHead(
        num_classes=2, levels=1, num_grids=3, boxes_per_cell=3, width=2, depth=1, norm="none", prior_probability=0.5
    )
    pixels = 8 * np.stack(np.indices(grids[0]), axis=-1)[None].astype(np.float32)

    def fill(path, x):
        names, value = [entry.key for entry in path], np.zeros(x.shape, np.float32)
        centre = x.shape[0] // 2
        if names[-1] == "kernel" and "out_conv" not in names:
            value[centre, centre] = np.eye(2)
        elif names[-2:] == ["boxes", "kernel"]:
            value.reshape(3, 3, 2, 3, 4)[1, 1, 0, :, 0] = value.reshape(3, 3, 2, 3, 4)[1, 1, 1, :, 1] = 1
        elif names[-2:] == ["classes", "bias"]:
            value.reshape(3, 2)[:, 1] = np.arange(3)
        elif names[-2:] == ["boxes", "bias"]:
            value.reshape(3, 4)[:, 2] = np.arange(3)
        return value

    variables = jax.tree.map_with_path(fill, shapes_of(head, [pixels])[1])
    logits, boxes = jax.jit(partial(head.apply, train=False))(variables, [pixels])
    expected = [
        (row * stride, column * stride, box, 0)
        for (rows, columns), stride in zip(grids, strides, strict=True)
        for row in range(rows)
        for column in range(columns)
        for box in range(3)
    ]
    np.testing.assert_array_equal(boxes[0], expected)
    np.testing.assert_array_equal(logits[0, :, 1], np.array(expected)[:, 2])


# Towers


def test_tower_is_convolution_norm_relu_with_shared_kernels():
    """One kernel for all levels, and BatchNorm of each level; on equal maps only the latter differs."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 3, 4, 2)).astype(np.float32), rng.normal(size=(2, 1, 1, 2)).astype(np.float32)
    tower = Tower(width=3, depth=2)
    variables = filled(shapes_of(tower, [x, y, x])[1])
    params, stats = variables["params"], variables["batch_stats"]
    assert set(params) == {"conv0", "conv1"} | {f"norm{i}_level{level}" for i in range(2) for level in range(3)}
    assert set(params["conv0"]) == {"kernel"}
    found = jax.jit(partial(tower.apply, train=False))(variables, [x, y, x])
    for level, features in enumerate((x, y, x)):
        for index in range(2):
            norm = f"norm{index}_level{level}"
            features = numpy_conv(features, params[f"conv{index}"]["kernel"], 1, 1)
            features = np.maximum(numpy_norm(features, params[norm], stats[norm]), 0)
        np.testing.assert_allclose(found[level], features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_equal_maps_have_equal_outputs(norm):
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 4)).astype(np.float32)
    tower = Tower(width=4, depth=2, norm=norm)
    variables = filled(shapes_of(tower, [x, x])[1])
    assert set(variables) == {"params"}
    assert set(variables["params"]) == {
        f"{kind}{i}" for kind in ("conv", "norm")[: 1 + (norm == "group")] for i in "01"
    }
    first, second, alone = jax.jit(lambda v: [*tower.apply(v, [x, x], train=True), *tower.apply(v, [x], train=True)])(
        variables
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, alone)
    assert np.any(first)


def test_class_tower_and_box_tower_are_two(variables, maps):
    predictions, *_ = train(variables, maps)
    params = variables["params"]
    others = {**params, "class_tower": jax.tree.map(lambda x: -x, params["class_tower"])}
    changed, *_ = train({**variables, "params": others}, maps)
    np.testing.assert_array_equal(changed.box_activations, predictions.box_activations)
    assert np.any(changed.class_logits != predictions.class_logits)


def test_fast_layers_have_the_same_variables(variables, maps):
    same = shapes_of(HEAD.clone(fast_layers=("norm",)), maps)[1]
    assert jax.tree.map(np.shape, same) == jax.tree.map(np.shape, variables)


# Training


def test_gradients_reach_every_parameter_and_steps_along_them_lower_the_loss(variables, maps):
    predictions, stats, gradients, before = train(variables, maps)
    assert predictions.class_logits.shape == (2, ROWS, 2)
    assert all(np.any(x) for x in jax.tree.leaves(gradients))
    assert all(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (stats, variables["batch_stats"])), strict=True))
    params = variables["params"]
    for _ in range(20):
        *_, gradients, after = train({**variables, "params": params}, maps)
        params = jax.tree.map(lambda p, g: p - 0.03 * g, params, gradients)
    assert after < 0.7 * before


@pytest.mark.parametrize("factor", [0, 1e6])
def test_gradients_are_finite_at_extremes(variables, maps, factor):
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(train(variables, [factor * x for x in maps])))


def test_bfloat16_gives_float32_predictions_and_finite_gradients(variables, maps):
    found = train(variables, maps, dtype=jnp.bfloat16)
    for leaf in jax.tree.leaves(found):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
    expected = train(variables, maps)[0]
    jax.tree.map(partial(np.testing.assert_allclose, atol=0.15), found[0], expected)


def test_maps_of_frozen_stages_have_no_gradient():
    """All maps, the fine ones too, in training mode; the head on them still trains."""
    backbone = ResNet((1, 1), width=2)
    x = np.random.default_rng(4).normal(size=(1, 16, 16, 3)).astype(np.float32)
    variables = filled(shapes_of(backbone, x)[1])

    @jax.jit
    def gradients(params):
        def total(params):
            given = {**variables, "params": params}
            maps, _ = backbone.apply(given, x, train=True, frozen_stages=1, levels=2, mutable=["batch_stats"])
            return sum(jnp.sum(features**2) for features in maps)

        return jax.grad(total)(params)

    for name, layer in gradients(variables["params"]).items():
        assert any(np.any(x) for x in jax.tree.leaves(layer)) == name.startswith("layer2"), name
