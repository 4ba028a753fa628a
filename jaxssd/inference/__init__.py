"""Detection on photographs with a trained run or a published detector: `jaxssd.load`, and what it returns."""

from jaxssd.inference.detector import LoadedDetector
from jaxssd.inference.found import Found
from jaxssd.inference.loading import load

__all__ = ["Found", "LoadedDetector", "load"]
