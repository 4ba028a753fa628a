"""Networks whose layers are computed in another form, or twice: the variables and numbers of the plain network."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models.detector import Detector
from jaxssd.models.heads import PyramidHead
from jaxssd.models.resnet import Bottleneck, ResNet
from jaxssd.models.ssd300_head import ExtraLayer, SSD300Head

HEAD = PyramidHead(
    num_classes=2,
    grids=(4, 2),
    boxes_per_cell=3,
    prior_probability=1 / (1 + math.exp(4.0)),
    input_dropout=0.2,
    dropout=0.2,
    width=4,
)
TINY = Detector(ResNet(stage_sizes=(1, 1), width=4), HEAD)
DEEP = Detector(ResNet(stage_sizes=(1, 1), width=4, block=Bottleneck), HEAD)
ALL = ("norm", "pool", "stem")
CHOICES = [(), ("norm",), ("pool",), ("stem",), ALL]
SIZE = 29  # odd on the way down: 29, 15, 8, 4


def changed(model, fast_layers=(), *, remat=False, dtype=jnp.float32):
    backbone = model.backbone.clone(fast_layers=fast_layers, remat=remat, dtype=dtype)
    return Detector(backbone, model.head.clone(fast_layers=fast_layers, dtype=dtype))


def shapes_of(model):
    images = jax.ShapeDtypeStruct((2, SIZE, SIZE, 3), jnp.float32)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)


def random_variables(model):
    rng = np.random.default_rng(0)
    shapes = shapes_of(model)
    return {
        "params": jax.tree.map(lambda x: rng.uniform(-0.5, 0.7, x.shape).astype(np.float32), shapes["params"]),
        "batch_stats": jax.tree.map(lambda x: rng.uniform(0.5, 2, x.shape).astype(np.float32), shapes["batch_stats"]),
    }


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)


def loss_of(model, variables, images, frozen_stages):
    def loss(params):
        predictions, updates = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            frozen_stages=frozen_stages,
            rngs={"dropout": jax.random.key(2, impl="rbg")},
            mutable=["batch_stats"],
        )
        return sum(jnp.mean(x**2) for x in predictions), (predictions, updates["batch_stats"])

    return loss


@partial(jax.jit, static_argnames=("model", "frozen_stages"))
def train_and_evaluate(model, variables, images, frozen_stages=0):
    """Loss, predictions, statistics and gradients of a step, and the predictions of evaluation."""
    loss = loss_of(model, variables, images, frozen_stages)
    step = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return step, model.apply(variables, images, train=False)


def assert_close(one, other, *, share=1e-4):
    """Up to a share of the largest number of each array."""

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=share * (np.abs(b).max() + 1e-3))

    jax.tree.map(close, one, other)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("fast_layers", CHOICES)
def test_variables_are_those_of_the_plain_network(fast_layers, remat):
    for model in (TINY, DEEP):
        ours, plain = shapes_of(changed(model, fast_layers, remat=remat)), shapes_of(model)
        assert jax.tree.structure(ours) == jax.tree.structure(plain)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), ours) == jax.tree.map(lambda x: (x.shape, x.dtype), plain)


def test_they_start_at_the_same_values(images):
    def first(model):
        return jax.jit(partial(model.init, train=False))(jax.random.key(5, impl="rbg"), images)

    jax.tree.map(np.testing.assert_array_equal, first(changed(TINY, ALL, remat=True)), first(TINY))


@pytest.mark.parametrize("choice", ALL)
def test_each_reformulation_alone_is_what_the_plain_layer_is(choice, images):
    plain = ResNet(stage_sizes=(1,), width=4)
    ours = plain.clone(fast_layers=(choice,))
    variables = {kind: tree["backbone"] for kind, tree in random_variables(Detector(plain, HEAD)).items()}

    @partial(jax.jit, static_argnames="model")
    def step(model, params):
        def loss(params):
            features, updates = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(features**2), updates

        return jax.value_and_grad(loss, has_aux=True)(params)

    assert_close(step(ours, variables["params"]), step(plain, variables["params"]))
    texts = [str(jax.make_jaxpr(partial(step, model))(variables["params"])) for model in (ours, plain)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("model", "fast_layers", "remat", "frozen_stages"),
    [(TINY, ALL, False, 0), (TINY, (), True, 0), (DEEP, ALL, True, 1)],
)
def test_numbers_gradients_and_statistics_are_those_of_the_plain_network(
    model, fast_layers, remat, frozen_stages, images
):
    variables = random_variables(model)
    ours = train_and_evaluate(changed(model, fast_layers, remat=remat), variables, images, frozen_stages)
    plain = train_and_evaluate(model, variables, images, frozen_stages)
    assert_close(ours, plain)
    _, gradients = plain[0]
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients["backbone"]))


def test_jit_is_eager(images):
    model = changed(TINY, ALL, remat=True)
    variables = random_variables(model)
    evaluated = model.apply(variables, images, train=False)
    assert_close(train_and_evaluate(model, variables, images)[1], evaluated)


def test_frozen_stages_keep_their_statistics_and_get_no_gradient(images):
    model = changed(TINY, ALL, remat=True)
    variables = random_variables(model)
    (_, (_, stats)), gradients = train_and_evaluate(model, variables, images, 1)[0]
    old = variables["batch_stats"]["backbone"]
    for layer, parts in gradients["backbone"].items():
        trained = layer == "layer2_0"
        assert all(np.any(leaf) == trained for leaf in jax.tree.leaves(parts)), layer
        if layer in old:
            same = jax.tree.map(lambda a, b: np.array_equal(a, b), stats["backbone"][layer], old[layer])
            assert all(leaf != trained for leaf in jax.tree.leaves(same)), layer


def test_remat_keeps_less(images):
    """Maps between blocks, and those of the stem and the head."""

    def kept(model):
        loss = loss_of(model, random_variables(model), images, 0)
        pull_back = jax.eval_shape(lambda params: jax.vjp(loss, params, has_aux=True)[1], shapes_of(model)["params"])
        maps = [leaf for leaf in jax.tree.leaves(pull_back) if leaf.ndim == 4 and leaf.shape[0] == len(images)]
        return sum(leaf.size * leaf.dtype.itemsize for leaf in maps)

    blocks = Detector(TINY.backbone.clone(stage_sizes=(3, 3)), TINY.head)
    assert kept(changed(blocks, remat=True)) < 0.6 * kept(blocks)
    assert kept(changed(blocks, ALL, remat=True)) < 0.6 * kept(changed(blocks, ALL)) < 0.6 * kept(blocks)


def test_bfloat16_is_finite_and_near_float32(images):
    variables = random_variables(TINY)
    half = changed(TINY, ALL, dtype=jnp.bfloat16)
    (_, (_, stats)), gradients = train_and_evaluate(half, variables, images)[0]
    assert all(leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves((stats, gradients)))
    expected = train_and_evaluate(TINY, variables, images)
    assert_close(train_and_evaluate(half, variables, images)[1], expected[1], share=0.05)
    assert_close(stats, expected[0][0][1][1], share=0.05)


def test_layers_of_ssd300_follow_norm():
    layer = ExtraLayer(4, 6, 2, 1)
    x = np.random.default_rng(3).normal(size=(2, 7, 7, 3)).astype(np.float32)
    variables = jax.jit(partial(layer.init, train=False))(jax.random.key(0, impl="rbg"), x)
    run = jax.jit(lambda layer, x: layer.apply(variables, x, train=True, mutable=["batch_stats"]), static_argnums=0)
    assert_close(run(layer.clone(fast_layers=ALL), x), run(layer, x))
    assert "rsqrt" in str(jax.make_jaxpr(partial(run, layer))(x))
    custom = str(jax.make_jaxpr(partial(run, layer.clone(fast_layers=ALL)))(x))
    assert "custom_vjp" in custom
    assert SSD300Head(num_classes=2, fast_layers=ALL).fast_layers == ALL
