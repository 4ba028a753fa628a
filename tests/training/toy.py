"""A network of a few numbers that says what a step gave it, and the optimizer's formula in NumPy.

Its loss is linear in its parameters: the gradient of each is the mean brightness of the batch times a constant, so that
a run can be followed with a pencil, from what its metrics say that each step saw.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.report import LoadReport
from jaxssd.tasks.task import Task

SIDE = 4
STAGES = 2
GROUPS = {"conv1": "lower", "layer1_0": "lower", "layer2_0": "upper"}
LEARNS = {"head": ("head",), "upper": ("upper", "head"), "all": ("lower", "upper", "head")}
"""The groups that learn, by the phase's setting."""
SHAPES = {"kernel": (2, 3), "scale": (3,), "bias": (3,)}


class ToyLoss(NamedTuple):
    """What each image of a batch gives, `[B]`; the step takes means."""

    total: Any
    brightness: Any
    noise: Any  # drawn with the key of the dropout
    noise_squared: Any
    first: Any  # brightness of the batch's first image
    second: Any


class Layer(nn.Module):
    """Parameters of the usual names and ranks, times constants; and a running mean of the brightness."""

    @nn.compact
    def __call__(self, brightness, *, train):
        total = 0.0
        for number, (name, shape) in enumerate(SHAPES.items()):
            value = self.param(name, nn.initializers.normal(1.0), shape)
            total = total + (value * coefficients(number, shape)).sum()
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if train and not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * brightness.mean()
        return total


def coefficients(number, shape):
    """Gradients differ in size and sign."""
    return np.float32(np.cos(1 + number + np.arange(np.prod(shape)))).reshape(shape)


class Backbone(nn.Module):
    @nn.compact
    def __call__(self, brightness, *, train, frozen_stages):
        total = Layer(name="conv1")(brightness, train=train and frozen_stages == 0)
        for stage in (1, 2):
            total = total + Layer(name=f"layer{stage}_0")(brightness, train=train and stage > frozen_stages)
        return total


class ToyNet(nn.Module):
    @nn.compact
    def __call__(self, images, *, train, frozen_stages=0):
        brightness = images.mean(axis=(1, 2, 3))
        total = Backbone(name="backbone")(brightness, train=train, frozen_stages=frozen_stages)
        total = total + Layer(name="head")(brightness, train=train)
        noise = jax.random.uniform(self.make_rng("dropout"), brightness.shape) if train else jnp.zeros_like(brightness)
        return brightness, brightness * total, noise


class ToyScores(NamedTuple):
    value: float

    @property
    def objective(self):
        return self.value

    def summary(self):
        return {"score": self.value}

    def headline(self):
        return f"score {self.value}"

    def table(self):
        return self.headline()

    def as_dict(self):
        return self.summary()


class ToyTask(Task):
    """Scores are what the test says, one after the other."""

    mean, std, class_names, model, num_stages = (0.0,) * 3, (1.0,) * 3, ("a",), ToyNet(), STAGES

    def __init__(self, scores=()):
        object.__setattr__(self, "scores", list(scores))

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError

    def loss(self, predictions, examples: Examples):
        brightness, total, noise = predictions
        first, second = (jnp.full_like(brightness, brightness[index % len(brightness)]) for index in (0, 1))
        return ToyLoss(total, brightness, noise, noise**2, first, second)

    def postprocess(self, predictions):
        return predictions[0]

    def score(self, results, dataset, *, with_coco=False):
        return ToyScores(self.scores.pop(0) if self.scores else 0.0)

    def to_json(self, result, size, threshold):
        raise NotImplementedError


def toy_set(count, seed=0):
    """Images of one grey each, no two alike."""
    greys = np.random.default_rng(seed).permutation(200)[:count].astype(np.uint8) + 10
    images = np.broadcast_to(greys[:, None, None, None], (count, SIDE, SIDE, 3)).copy()
    none = np.zeros((count, 1), bool)
    examples = Examples(images, np.zeros((count, 1, 4), np.float32), np.zeros((count, 1), np.int32), ~none, none)
    ids = tuple(f"{seed}-{number}" for number in range(count))
    whole = np.tile([0.0, 0, 1, 1], (count, 1))
    return Dataset(examples, ("a",), ids, np.full((count, 2), SIDE, np.int32), whole, LoadReport(count, 0, ()))


def brightness(dataset):
    """Of each image, as the network sees it."""
    return np.asarray(dataset.examples.images)[:, 0, 0, 0] / 255


def group_of(path):
    """Of `('backbone', 'layer1_0', 'kernel')`, lower."""
    return "head" if path[0] == "head" else GROUPS[path[1]]


def flat(tree):
    """By path, in float64."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(entry.key for entry in path): np.asarray(leaf, np.float64) for path, leaf in leaves}


class NumpyAdamW:
    """Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2, as in PyTorch: the decay is times the rate."""

    def __init__(self, decay, multipliers):
        self.decay, self.multipliers = decay, multipliers
        self.steps, self.first, self.second = 0, {}, {}

    def step(self, params, grads, rate):
        """Parameters and gradients by path; groups without a multiplier stay."""
        self.steps += 1
        new = {}
        for path, value in params.items():
            new[path] = value
            if (multiplier := self.multipliers.get(group_of(path))) is None:
                continue
            grad = grads[path]
            self.first[path] = 0.9 * self.first.get(path, 0.0) + 0.1 * grad
            self.second[path] = 0.999 * self.second.get(path, 0.0) + 0.001 * grad**2
            mean, variance = self.first[path] / (1 - 0.9**self.steps), self.second[path] / (1 - 0.999**self.steps)
            decay = self.decay if path[-1] == "kernel" else 0.0
            new[path] = value - multiplier * rate * (mean / (np.sqrt(variance) + 1e-8) + decay * value)
        return new


def toy_gradients(params, bright):
    """Of the mean loss of a batch with this mean brightness."""
    numbers = {name: number for number, name in enumerate(SHAPES)}
    return {
        path: bright * coefficients(numbers[path[-1]], value.shape).astype(np.float64) for path, value in params.items()
    }


def reference_rates(phase, steps):
    """Each schedule written out, in float64."""
    step, peak = np.arange(steps), phase.learning_rate
    if phase.schedule == "one_cycle":
        low, end, top = peak / 25, peak / 25e4, int(0.3 * steps)
        rise = low + (peak - low) * (1 - np.cos(np.pi * step / max(top, 1))) / 2
        fall = end + (peak - end) * (1 + np.cos(np.pi * (step - top) / (steps - top))) / 2
        return np.where(step < top, rise, fall)
    if phase.schedule == "clr":
        div, cut_div = phase.clr
        cut = max(int(steps // cut_div), 1)
        fall = max(cut * (cut_div - 1), 1)
        share = [i / cut if i <= cut else max(1 - (i - cut) / fall, 0) for i in range(steps)]
        return peak * (1 + np.array(share) * (div - 1)) / div
    return peak * (1 + np.cos(np.pi * step / steps)) / 2 if phase.schedule == "cosine" else np.full(steps, peak)
