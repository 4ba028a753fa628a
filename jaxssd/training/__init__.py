"""Training: a configuration and data in, a run's folder out."""

from jaxssd.training.compilation import keep_compiled
from jaxssd.training.divergence import DivergedError, NonFiniteLossError
from jaxssd.training.evaluation import evaluate, make_predict, make_validate, map_batches
from jaxssd.training.interruption import Interrupted, signals_watched
from jaxssd.training.job import resume, start
from jaxssd.training.lock import RunInUseError
from jaxssd.training.loop import train
from jaxssd.training.report import draw_scores, report_photograph, report_scores, write_scores
from jaxssd.training.restore import restore
from jaxssd.training.run_folder import RunFolder

__all__ = [
    "DivergedError",
    "Interrupted",
    "NonFiniteLossError",
    "RunFolder",
    "RunInUseError",
    "draw_scores",
    "evaluate",
    "keep_compiled",
    "make_predict",
    "make_validate",
    "map_batches",
    "report_photograph",
    "report_scores",
    "restore",
    "resume",
    "signals_watched",
    "start",
    "train",
    "write_scores",
]
