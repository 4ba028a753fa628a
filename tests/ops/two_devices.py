"""Pure functions in `shard_map` and on both kinds of mesh. `test_transforms.py` runs this file with two devices."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxssd import box_iou, generalized_box_iou, hard_negative_mask, make_anchors, match_anchors, multiclass_nms, nms
from jaxssd.ops.matching import RULES
from jaxssd.ops.ssd_loss import ssd_loss

RNG = np.random.default_rng(0)
ANCHORS = make_anchors((2,), (1.0,), ((1.0, 1.0),))
NEAR = RNG.random((4, 3, 2)) / 2
BOXES = np.concatenate([NEAR, NEAR + 0.3], axis=-1).astype(np.float32)
LABELS, VALID = RNG.integers(0, 3, (4, 3)).astype(np.int32), np.array([[True, True, False]] * 4)
LOGITS, ACTIVATIONS = (RNG.normal(size=(4, 4, n)).astype(np.float32) for n in (3, 4))
MESHES = {"explicit": (AxisType.Explicit,), "auto": (AxisType.Auto,)}


def value_and_gradient(rule, *image):
    def total(logits, activations):
        return ssd_loss(logits, activations, *image[2:], ANCHORS, rule=rule, negative_ratio=2).total

    return jax.value_and_grad(total, argnums=(0, 1))(*image[:2])


LOSS = (LOGITS, ACTIVATIONS, BOXES, LABELS, VALID)
MATCH = (ANCHORS.corners, BOXES, VALID)
# Function, arguments, and which of them are mapped and sharded: the others are shared.
CASES = [
    *[(partial(value_and_gradient, rule), LOSS, mapped) for rule in RULES for mapped in ("11111", "11000", "11001")],
    *[(partial(match_anchors, rule=rule), MATCH, mapped) for rule in RULES for mapped in ("011", "001")],
    *[(partial(nms, max_outputs=3), (BOXES, LOGITS[:, :3, 0]), mapped) for mapped in ("11", "01", "10")],
    *[(partial(multiclass_nms, max_outputs=3, max_candidates=2), (BOXES, LOGITS[:, :3]), m) for m in ("11", "01")],
    (hard_negative_mask, (LOGITS[:, :3, 0], VALID), "11"),
    (jax.jacobian(generalized_box_iou), (BOXES, BOXES), "10"),
    (jax.jacobian(box_iou), (BOXES, BOXES), "11"),
]


def test_there_are_two_devices():
    assert len(jax.devices()) == 2


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize(("function", "arguments", "mapped"), CASES)
def test_a_sharded_batch_gives_what_one_device_gives(kind, function, arguments, mapped):
    is_mapped = [flag == "1" for flag in mapped]
    arguments = [
        x[0] if not yes and x is not ANCHORS.corners else x for x, yes in zip(arguments, is_mapped, strict=True)
    ]
    batched = jax.vmap(function, in_axes=tuple(0 if yes else None for yes in is_mapped))
    expected = jax.jit(batched)(*arguments)
    mesh = jax.make_mesh((2,), ("data",), axis_types=MESHES[kind])
    specs = tuple(P("data") if yes else P() for yes in is_mapped)
    placed = [jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(arguments, specs, strict=True)]
    with jax.set_mesh(mesh):
        found = jax.jit(batched)(*placed)
        mapped_found = jax.jit(jax.shard_map(batched, in_specs=specs, out_specs=P("data")))(*placed)
    for got in (found, mapped_found):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, expected)
