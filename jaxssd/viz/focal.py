"""Focal loss beside binary cross entropy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxssd.ops import focal_loss
from jaxssd.viz.style import BLUE, DPI, GREEN, ORANGE, VERMILION

CURVES = ("black", BLUE, GREEN, ORANGE, VERMILION)
NUM_EASY, NUM_HARD = 10_000, 100
P_EASY, P_HARD = 0.98, 0.3


def focal_figure(gammas: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 5.0)) -> Figure:
    """Draw the loss over the probability of the truth, and the share of the total that easy background makes.

    Both panels leave alpha out: they show twice the loss with alpha = 0.5, which for gamma = 0 is the cross entropy.

    Args:
        gammas: values of gamma; each has a curve and a bar.

    Returns:
        A figure with two panels.
    """
    figure = Figure(figsize=(9, 4), dpi=DPI, layout="constrained")
    loss_ax, share_ax = figure.subplots(1, 2)
    _draw_losses(loss_ax, gammas)
    _draw_shares(share_ax, gammas)
    for ax in (loss_ax, share_ax):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_losses(ax: Axes, gammas: Sequence[float]) -> None:
    probability = np.linspace(0.005, 0.995, 199)
    for index, gamma in enumerate(gammas):
        label = f"$\\gamma$ = {gamma:g}{': binary cross entropy' * (gamma == 0)}"
        ax.plot(probability, _loss(probability, gamma), color=CURVES[index % len(CURVES)], label=label)
    ax.axvspan(0.6, 1, color="black", alpha=0.06, linewidth=0)
    ax.text(0.8, 1.3, "easy:\nalready right", ha="center", fontsize=9)
    ax.set_title("$(1 - p_t)^\\gamma$ x cross entropy, without $\\alpha$", fontsize=10)
    ax.set(xlim=(0, 1), ylim=(0, 5), xlabel="$p_t$, the probability given to the truth", ylabel="loss")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper right", frameon=False, fontsize=9)


def _draw_shares(ax: Axes, gammas: Sequence[float]) -> None:
    easy, hard = (
        np.array([count * _loss(np.array([p]), gamma).item() for gamma in gammas])
        for count, p in ((NUM_EASY, P_EASY), (NUM_HARD, P_HARD))
    )
    share = 100 * easy / (easy + hard)
    names = [f"{gamma:g}" for gamma in gammas]
    ax.bar(names, share, color="0.35", label=f"{NUM_EASY:,} easy background anchors, $p_t$ = {P_EASY:g}")
    ax.bar(names, 100 - share, bottom=share, color="0.85", label=f"{NUM_HARD:,} hard anchors, $p_t$ = {P_HARD:g}")
    for x, height in enumerate(share.tolist()):
        digits = 0 if height >= 10 else 1 if height >= 1 else 2
        ax.text(x, height + 1.5, f"{height:.{digits}f}" if height >= 0.01 else "<0.01", ha="center", fontsize=9)
    ax.set_title("what the total loss is made of", fontsize=10)
    ax.set(ylim=(0, 125), yticks=range(0, 101, 25), xlabel="$\\gamma$", ylabel="share of the total loss, %")
    ax.legend(loc="upper left", frameon=False, fontsize=9)


def _loss(probability: Float[np.ndarray, "n"], gamma: float) -> Float[np.ndarray, "n"]:
    """Focal loss of a present class without alpha: twice the loss with alpha = 0.5."""
    logits = np.log(probability) - np.log1p(-probability)
    return 2 * np.asarray(focal_loss(logits, np.ones(len(logits)), alpha=0.5, gamma=gamma))
