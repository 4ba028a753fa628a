"""Detections and truth as plain arrays."""

from typing import NamedTuple

import numpy as np


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


class Truth(NamedTuple):
    boxes: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    difficult: np.ndarray
