"""The lesson's heads of one prediction an image: its parameter counts, its layers in NumPy, dropout and statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models.dense_heads import BoxHead, LabelHead, ObjectHead, ObjectPredictions

key = partial(jax.random.key, impl="rbg")  # Threefry takes XLA a second to compile for every draw on a CPU
CLASSES = 3
HEADS = {
    "box": BoxHead(),
    "object": ObjectHead(num_classes=CLASSES, width=16),
    "labels": LabelHead(num_classes=CLASSES, width=16),
}


@pytest.fixture(scope="module")
def features():
    """Some are negative, which a backbone's are not."""
    return np.random.default_rng(0).normal(size=(4, 2, 3, 5)).astype(np.float32)


@pytest.fixture(scope="module", params=["object", "labels"])
def head(request):
    return HEADS[request.param]


@pytest.fixture(scope="module")
def variables(features):
    """Of each head; statistics and scales are none that leave things as they are."""
    rng = np.random.default_rng(1)

    def shake(path, leaf):
        positive = path[-1].key in ("var", "scale")
        noise = rng.uniform(0.5, 2, leaf.shape) if positive else rng.normal(0, 0.5, leaf.shape)
        return np.float32(noise)

    init = {name: partial(head.init, train=False) for name, head in HEADS.items()}
    shapes = {name: jax.eval_shape(function, key(0), features) for name, function in init.items()}
    return jax.tree_util.tree_map_with_path(shake, shapes)


def name_of(head):
    return next(name for name, other in HEADS.items() if other is head)


@partial(jax.jit, static_argnames=("head", "train"))
def run(head, variables, features, dropout_key, *, train):
    """What is predicted, and the statistics afterwards."""
    predictions, updates = head.apply(
        variables, features, train=train, rngs={"dropout": dropout_key}, mutable=["batch_stats"]
    )
    return predictions, updates["batch_stats"]


@partial(jax.jit, static_argnames="head")
def gradients_of(head, variables, features):
    def loss(params):
        rngs = {"dropout": key(1)}
        predictions, _ = head.apply(
            {**variables, "params": params}, features, train=True, rngs=rngs, mutable=["batch_stats"]
        )
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(predictions))

    return jax.grad(loss)(variables["params"])


def assert_close(one, other, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), one, other)


# The lesson's sizes


@pytest.mark.parametrize(
    ("head", "count", "shape"),
    [
        (BoxHead(), 25088 * 4 + 4, (2, 4)),
        (
            ObjectHead(num_classes=20),
            (25088 * 256 + 256) + 2 * 256 + (256 * 24 + 24),
            ObjectPredictions((2, 4), (2, 20)),
        ),
        (LabelHead(num_classes=20), 2 * 1024 + (1024 * 512 + 512) + 2 * 512 + (512 * 20 + 20), (2, 20)),
    ],
    ids=["box", "object", "labels"],
)
def test_lessons_heads_at_224_pixels(head, count, shape):
    features = jax.ShapeDtypeStruct((2, 7, 7, 512), jnp.bfloat16)
    predictions, variables = jax.eval_shape(partial(head.init_with_output, train=False), key(0), features)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert jax.tree.map(lambda leaf: leaf.shape, predictions) == shape
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((predictions, variables)))


def test_lessons_dropout():
    object_head, label_head = ObjectHead(num_classes=20), LabelHead(num_classes=20)
    assert (object_head.input_dropout, object_head.dropout, object_head.width) == (0.5, 0.5, 256)
    assert (label_head.input_dropout, label_head.dropout, label_head.width) == (0.25, 0.5, 512)


# Layer by layer


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def norm(params, stats, x):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def relu(x):
    return np.maximum(x, 0)


def test_box_head_is_one_linear_layer(features, variables):
    ours, _ = jax.jit(partial(HEADS["box"].apply, train=True, mutable=["batch_stats"]))(variables["box"], features)
    expected = dense(variables["box"]["params"]["boxes"], features.reshape(4, -1))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_object_head_is_relu_linear_relu_norm_linear(features, variables):
    params, stats = variables["object"]["params"], variables["object"]["batch_stats"]
    x = dense(params["hidden"], relu(features).reshape(4, -1))
    x = dense(params["out"], norm(params["bn"], stats["bn"], relu(x)))
    ours, _ = run(HEADS["object"], variables["object"], features, key(0), train=False)
    assert_close(ours, ObjectPredictions(x[:, :4], x[:, 4:]), rtol=1e-3, atol=1e-4)


def test_label_head_is_maxima_and_means_norm_linear_relu_norm_linear(features, variables):
    params, stats = variables["labels"]["params"], variables["labels"]["batch_stats"]
    pooled = np.concatenate([features.max(axis=(1, 2)), features.mean(axis=(1, 2))], axis=1)
    x = relu(dense(params["hidden"], norm(params["bn1"], stats["bn1"], pooled)))
    x = dense(params["classes"], norm(params["bn2"], stats["bn2"], x))
    ours, _ = run(HEADS["labels"], variables["labels"], features, key(0), train=False)
    assert_close(ours, x, rtol=1e-3, atol=1e-4)


def test_object_head_does_not_see_negative_features(features, variables):
    ours = [
        run(HEADS["object"], variables["object"], x, key(0), train=False)[0]
        for x in (features, np.maximum(features, 0), features + 1)
    ]
    assert_close(ours[0], ours[1])
    assert np.any(ours[0].class_logits != ours[2].class_logits)


def test_kernels_start_as_pytorch_starts_them_and_biases_at_zero(features):
    for name, head in HEADS.items():
        params = jax.jit(partial(head.init, train=False))(key(0), features)["params"]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if path[-1].key == "kernel":
                bound = 1 / np.sqrt(leaf.shape[0])
                assert 0.7 * bound < np.max(np.abs(leaf)) <= bound, (name, path)
            elif path[-1].key == "bias":
                assert not np.any(leaf), (name, path)


# Training and evaluation


def test_training_is_random_by_key_only_and_evaluation_is_not(head, features, variables):
    of_head = variables[name_of(head)]
    first, again, other = (run(head, of_head, features, key(k), train=True)[0] for k in (1, 1, 2))
    assert_close(first, again, rtol=0)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (first, other)), strict=True))
    assert_close(*(run(head, of_head, features, key(k), train=False)[0] for k in (1, 2)), rtol=0)


def test_statistics_move_in_training_only(head, features, variables):
    of_head = variables[name_of(head)]
    _, trained = run(head, of_head, features, key(1), train=True)
    _, evaluated = run(head, of_head, features, key(1), train=False)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (trained, of_head["batch_stats"])), strict=True))
    assert_close(evaluated, of_head["batch_stats"], rtol=0)


def test_each_share_of_dropout_is_its_own(head, features, variables):
    """With everything gone at its place, what came before it does not matter; without dropout training is certain."""
    of_head = variables[name_of(head)]
    for settings in ({"input_dropout": 1.0, "dropout": 0.0}, {"input_dropout": 0.0, "dropout": 1.0}):
        dropped = head.clone(**settings)
        ours, without = (run(dropped, of_head, x, key(1), train=True)[0] for x in (features, 0 * features))
        assert_close(ours, without, rtol=1e-5, atol=1e-5)
    kept = head.clone(input_dropout=0.0, dropout=0.0)
    ours, again, without = (
        run(kept, of_head, x, key(k), train=True)[0] for x, k in ((features, 1), (features, 2), (0 * features, 1))
    )
    assert_close(ours, again, rtol=0)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (ours, without)), strict=True))


@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_every_parameter_and_are_finite_at_extremes(name, features, variables):
    gradients = gradients_of(HEADS[name], variables[name], features)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))
    for x in (0 * features, 1e6 * features):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients_of(HEADS[name], variables[name], x)))


def test_bfloat16_computes_in_it_and_gives_float32(head, features, variables):
    of_head, half = variables[name_of(head)], head.clone(dtype=jnp.bfloat16)
    predictions, stats = run(half, of_head, features.astype(jnp.bfloat16), key(0), train=False)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((predictions, stats)))
    expected, _ = run(head, of_head, features, key(0), train=False)
    for ours, theirs in zip(*map(jax.tree.leaves, (predictions, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.05 * np.std(theirs))
        assert np.any(ours != theirs)
