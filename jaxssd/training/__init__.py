"""Training of any model: a step, an evaluation and checkpoints for a notebook, and the whole job of `train.py`.

For a model of your own, see `docs/extending.md`; the pieces are `make_train_step`, `init_state`, `make_predict`,
`make_validate`, `evaluate` and `Checkpoints`.
"""

from jaxssd.data.augmentation import BatchAugmentation, augment_example
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.compilation import keep_compiled
from jaxssd.training.evaluation import Evaluation, evaluate, make_predict, make_validate, map_batches
from jaxssd.training.interruption import Interrupted, signals_watched
from jaxssd.training.job import resume, start
from jaxssd.training.loop import train
from jaxssd.training.orbax_io import DamagedCheckpointError
from jaxssd.training.report import draw_scores, report_scores, write_scores
from jaxssd.training.rows import DivergedError, NonFiniteLossError
from jaxssd.training.run_folder import RunFolder, RunInUseError
from jaxssd.training.step import TrainState, Variables, init_state, make_train_block, make_train_step
from jaxssd.training.variables import restore

__all__ = [
    "BatchAugmentation",
    "Checkpoints",
    "DamagedCheckpointError",
    "DivergedError",
    "Evaluation",
    "Interrupted",
    "NonFiniteLossError",
    "RunFolder",
    "RunInUseError",
    "TrainState",
    "Variables",
    "augment_example",
    "draw_scores",
    "evaluate",
    "init_state",
    "keep_compiled",
    "make_predict",
    "make_train_block",
    "make_train_step",
    "make_validate",
    "map_batches",
    "report_scores",
    "restore",
    "resume",
    "signals_watched",
    "start",
    "train",
    "write_scores",
]
