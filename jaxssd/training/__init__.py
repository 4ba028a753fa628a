"""Training: a configuration and data in, a run's folder out."""

from jaxssd.training.evaluation import evaluate, make_predict, make_validate, map_batches
from jaxssd.training.job import resume, start
from jaxssd.training.loop import NonFiniteLossError, train
from jaxssd.training.report import report_photograph, report_scores
from jaxssd.training.restore import restore
from jaxssd.training.run_folder import RunFolder

__all__ = [
    "NonFiniteLossError",
    "RunFolder",
    "evaluate",
    "make_predict",
    "make_validate",
    "map_batches",
    "report_photograph",
    "report_scores",
    "restore",
    "resume",
    "start",
    "train",
]
