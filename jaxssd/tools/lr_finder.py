"""Learning-rate finder, Smith's range test (arXiv:1506.01186): the rate grows every step until the loss diverges."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from jaxssd.atomic import write_json
from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.load import load_split, notes_on_splits
from jaxssd.data.quality import notes_on_quality
from jaxssd.tasks.task import make_task
from jaxssd.training.distribution import data_mesh, fetch, is_main_process, replicated, send
from jaxssd.training.epochs import whole_batch
from jaxssd.training.job import require_objects, settle, with_anchors
from jaxssd.training.loop import make_phase
from jaxssd.training.step import TrainBlock, TrainState, init_state
from jaxssd.training.variables import first_variables

FIRST_RATE, LAST_RATE, STEPS = 1e-6, 10.0, 100
SMOOTHING = 0.8  # share of the past in the running mean; the lesson's 0.98 lags by half a sweep
EXPLODED = 4.0  # ratio of the running mean to the lowest one at which the sweep ends
IGNORED_STEPS = 10  # first steps, among which the lowest is not looked for
SAFETY = 10.0  # ratio of the rate of the lowest loss to the suggestion, where the fall is steady


class Sweep(NamedTuple):
    """Losses of a sweep up to the divergence.

    Attributes:
        learning_rate: rate `[n]` of the head; those of the other groups grew in proportion.
        loss: loss `[n]` of each batch.
        smoothed: running mean `[n]` of the loss.
        suggestion: learning rate to train with.
    """

    learning_rate: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    smoothed: Float[np.ndarray, " n"]
    suggestion: float


def find_rate(config: Config, folder: Path) -> None:
    """Sweep the learning rate of the first phase, and suggest one.

    Args:
        config: settings, as the user gave them; the learning rate is not used.
        folder: folder for `learning-rate.png` and `learning-rate.json`; made if it is missing.

    Raises:
        ValueError, FileNotFoundError: for data or settings that do not work; the message names them.
    """
    config = settle(config)
    for line in notes_on_splits(config.dataset, "--val-split"):
        print(line)
    train_set = load_split(config.dataset.stored(), "train")
    print(f"train: {train_set.report.summary()}")
    for line in notes_on_quality("train", train_set):
        print(line)
    require_objects(config.dataset, train_set)
    config = with_anchors(config, train_set)
    sweep = find_learning_rate(config, train_set)
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        report_sweep(folder, sweep)
    print(f"suggested --learning-rate {sweep.suggestion:.1e}\nfigure    {folder}/learning-rate.png")


def find_learning_rate(config: Config, train_set: Dataset, mesh: Mesh | None = None) -> Sweep:
    """Sweep the rates in the first phase of a run that is never saved.

    Args:
        config: settings, with the classes filled in; the learning rates are not used.
        train_set: training set; the images that the sweep takes go to the device.
        mesh: devices that share the work; default, all.

    Returns:
        The sweep.

    Raises:
        ValueError: if the settings make no network, or the loss diverges too early for a suggestion.
    """
    task = make_task(config)
    config = config.replace(ema_decay=None)  # nothing is evaluated here
    mesh = mesh or data_mesh()
    everywhere = replicated(mesh)
    optimizer, train_block = make_phase(
        config, task, config.optimizer.phases[0], sweep_schedule(STEPS), mesh=mesh, donate=False
    )
    state = init_state(*first_variables(config, task, mesh), optimizer)
    batch_size = whole_batch(config.optimizer.batch_size, config.optimizer.grad_accum_steps, len(train_set.ids))
    chosen = np.random.default_rng(config.runtime.seed).permutation(len(train_set.ids))[: STEPS * batch_size]
    examples = send(jax.tree.map(lambda array: array[chosen], train_set.examples), everywhere)
    order = np.resize(np.arange(len(chosen), dtype=np.int32), (STEPS, batch_size))
    loss = sweep_losses(train_block, state, examples, send(order, everywhere), config.runtime.seed)
    return read_sweep(np.asarray(sweep_schedule(STEPS)(np.arange(len(loss)))), loss)


def sweep_schedule(steps: int) -> optax.Schedule:
    """Geometric growth from `FIRST_RATE` to `LAST_RATE`."""
    return lambda step: FIRST_RATE * (LAST_RATE / FIRST_RATE) ** (step / (steps - 1))


def sweep_losses(
    train_block: TrainBlock, state: TrainState, examples: Examples, order: Int[Array, "steps B"], seed: int
) -> Float[np.ndarray, " n"]:
    """Run a sweep: one scan on an accelerator; a step at a time on a CPU, which is slow at convolutions in a scan.

    Args:
        train_block: function of `make_train_block` that does not donate its state and follows `sweep_schedule`.
        state: state at the start; it stays as it is.
        examples: images and objects on the device.
        order: rows of `examples` for each step.
        seed: seed of augmentation and dropout.

    Returns:
        Losses of all steps; on a CPU only up to the divergence.
    """
    key = jax.random.key(seed)
    if jax.default_backend() != "cpu":
        return np.asarray(fetch(train_block(state, examples, order, key)[1].total))
    losses: list[float] = []
    for rows in tqdm(
        order, "sweeping the learning rate", unit=" steps", disable=None if is_main_process() else True, leave=False
    ):
        state, loss = train_block(state, examples, rows[None], key)
        losses.append(float(loss.total[0]))
        if explosion(smooth(np.array(losses))) < len(losses):
            break
    return np.array(losses)


def read_sweep(learning_rate: Float[np.ndarray, " steps"], loss: Float[np.ndarray, " steps"]) -> Sweep:
    """Cut a sweep where the loss diverges, and suggest a rate.

    Args:
        learning_rate: rate of each step.
        loss: loss of each step; may become NaN or infinite.

    Returns:
        The sweep: the suggestion is a tenth of the rate at which the running mean of the loss was lowest.

    Raises:
        ValueError: if the loss was not finite from the start.

    Example:
        >>> rates = np.geomspace(1e-6, 10, 100)
        >>> sweep = read_sweep(rates, 1 + np.log10(rates / 0.1) ** 2)  # lowest at 0.1
        >>> round(sweep.suggestion, 3)  # a tenth of 0.2: the running mean lags a little
        0.02
    """
    smoothed = smooth(loss)
    end = explosion(smoothed)
    if end == 0:
        raise ValueError(
            "the loss is not finite from the first step on, at any learning rate: try --precision float32, or "
            "check the data with python -m jaxssd.data, and the weights of --pretrained"
        )
    first = min(IGNORED_STEPS, end - 1)  # the running mean begins with single losses, which chance makes low
    best = first + int(np.argmin(smoothed[first:end]))
    return Sweep(learning_rate[:end], loss[:end], smoothed[:end], float(learning_rate[best] / SAFETY))


def smooth(loss: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Exponential running mean, corrected for its start (as Adam's moments are).

    Example:
        >>> smooth(np.array([3.0, 3.0, 3.0]))
        array([3., 3., 3.])
    """
    mean, smoothed = 0.0, np.empty(len(loss))
    for step, value in enumerate(loss):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed[step] = mean / (1 - SMOOTHING ** (step + 1))
    return smoothed


def explosion(smoothed: Float[np.ndarray, " n"]) -> int:
    """First step at which the running mean is not finite, or four times the lowest one; n if there is none."""
    lowest = np.minimum.accumulate(np.where(np.arange(len(smoothed)) < IGNORED_STEPS, np.inf, smoothed))
    gone = ~np.isfinite(smoothed) | (smoothed > EXPLODED * lowest)
    return int(np.argmax(gone)) if gone.any() else len(smoothed)


def report_sweep(folder: Path, sweep: Sweep) -> None:
    """Write `learning-rate.json` and `learning-rate.png` into a folder that exists."""
    numbers = {
        "suggestion": sweep.suggestion,
        "learning_rate": sweep.learning_rate.tolist(),
        "loss": sweep.loss.tolist(),
        "smoothed": sweep.smoothed.tolist(),
    }
    write_json(folder / "learning-rate.json", numbers)
    from jaxssd.viz.curves import learning_rate_sweep  # matplotlib is imported with the first figure
    from jaxssd.viz.style import save

    figure = learning_rate_sweep(sweep.learning_rate, sweep.loss, sweep.smoothed, sweep.suggestion)
    save(figure, folder / "learning-rate.png")
