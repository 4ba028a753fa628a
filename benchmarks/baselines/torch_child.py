"""The process of PyTorch: prepares works and runs them when it is asked. Started by `torch_process`, without JAX."""

import gc
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision

from .torch_compiler import Compiler, make_compiler
from .torch_inference import prepare_inference
from .torch_training import prepare_size, prepare_training
from .torch_workloads import prepare_loss, prepare_nms

Work = Callable[[], Any]
Prepare = Callable[..., Work]

WORKS: dict[str, Prepare] = {
    "loss": prepare_loss,
    "nms": prepare_nms,
    "training": prepare_training,
    "inference": prepare_inference,
    "size": prepare_size,
}
"""What can be prepared: functions of a `Compiler` and of arrays, which return a function that leaves its results on the
device."""


class Child:
    """Its methods are the requests."""

    compiler: Compiler

    def __init__(self) -> None:
        self.works: list[Work] = []

    def open(self, device: str) -> dict[str, str]:
        """Set the device up, and say what it is."""
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("JAX sees a GPU, but this build of PyTorch sees none")
        torch.set_float32_matmul_precision("high")  # TF32, as JAX computes float32 by default on a GPU that has it
        torch.backends.cudnn.benchmark = True
        self.compiler = make_compiler(torch.device(device))
        return {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "torch's device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "torch's compiler": self.compiler.description,
        }

    def prepare(self, work: str, arguments: dict[str, Any]) -> int:
        """Make a work, and give it a number."""
        self.works.append(WORKS[work](self.compiler, **arguments))
        return len(self.works) - 1

    def results(self, number: int) -> Any:
        """Run once."""
        torch.compiler.cudagraph_mark_step_begin()
        return to_numpy(self.works[number]())

    def clock(self, number: int, queued: int) -> float:
        """Seconds a call."""
        work = self.works[number]
        self.compiler.synchronize()
        start = time.perf_counter()
        for _ in range(queued):
            torch.compiler.cudagraph_mark_step_begin()  # what the call before has left may be overwritten
            work()
        self.compiler.synchronize()
        return (time.perf_counter() - start) / queued

    def forget(self) -> None:
        """Free what the works hold, compiled code included."""
        self.works.clear()
        torch.compiler.reset()
        gc.collect()
        if self.compiler.device.type == "cuda":
            torch.cuda.empty_cache()


def to_numpy(results: Any) -> Any:
    """The same tree with NumPy arrays."""
    if isinstance(results, torch.Tensor):
        return results.detach().cpu().numpy()
    return [to_numpy(result) for result in results] if isinstance(results, list | tuple) else results


def main() -> None:
    """Answer until nothing more is asked."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever prints must not print into the answers
    child = Child()
    while True:
        try:
            request, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = "done", getattr(child, request)(**arguments)
        except torch.OutOfMemoryError as error:
            answer = "out of memory", str(error)
        except Exception:
            answer = "failed", traceback.format_exc()
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    np.seterr(all="ignore")
    torch.manual_seed(0)
    main()
