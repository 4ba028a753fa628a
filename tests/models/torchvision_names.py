"""Names and shapes of torchvision's ResNets, written from its documentation, and random weights for them."""

import numpy as np


def norm_shapes(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def resnet_shapes(stage_sizes, width=64, *, bottleneck=False):
    """Without `fc` and without `num_batches_tracked`."""
    shapes = {"conv1.weight": (width, 3, 7, 7), **norm_shapes("bn1", width)}
    inputs = width
    for stage, blocks in enumerate(stage_sizes):
        channels = width * 2**stage
        outputs = 4 * channels if bottleneck else channels
        sizes = [(channels, 1), (channels, 3), (outputs, 1)] if bottleneck else [(channels, 3), (outputs, 3)]
        for block in range(blocks):
            layer, before = f"layer{stage + 1}.{block}", inputs
            for i, (after, size) in enumerate(sizes, start=1):
                shapes |= {f"{layer}.conv{i}.weight": (after, before, size, size)}
                shapes |= norm_shapes(f"{layer}.bn{i}", after)
                before = after
            if block == 0 and (stage > 0 or inputs != outputs):
                shapes |= {f"{layer}.downsample.0.weight": (outputs, inputs, 1, 1)}
                shapes |= norm_shapes(f"{layer}.downsample.1", outputs)
            inputs = outputs
    return shapes


def random_weights(shapes, seed=0):
    """Drawn in the order of the sorted names; activations keep their scale, and nothing is at 0 or 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if len(shape) == 4:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith(("running_var", "weight")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        weights[name] = values.astype(np.float32)
    return weights
