"""PyTorch's process, without JAX: prepares workloads and runs them on request. Started by `torch_process`."""

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
from .torch_detectors import prepare_detector, prepare_weights
from .torch_inference import prepare_inference
from .torch_training import prepare_size, prepare_training
from .torch_workloads import prepare_loss, prepare_nms

Workload = Callable[[], Any]
Prepare = Callable[..., Workload]

WORKLOADS: dict[str, Prepare] = {
    "loss": prepare_loss,
    "nms": prepare_nms,
    "training": prepare_training,
    "inference": prepare_inference,
    "size": prepare_size,
    "detector": prepare_detector,
    "detector weights": prepare_weights,
}
"""Functions of a `Compiler` and of arrays; each returns a function that leaves its results on the device."""


class Child:
    """State of the process. Its methods are the requests."""

    compiler: Compiler

    def __init__(self) -> None:
        self.workloads: list[Workload] = []

    def open(self, device: str) -> dict[str, str]:
        """Set up the device; return versions and device."""
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("JAX finds a GPU, but this build of PyTorch finds none")
        torch.set_float32_matmul_precision("high")  # TF32: JAX's default for float32 on GPUs that have it
        torch.backends.cudnn.benchmark = True
        self.compiler = make_compiler(torch.device(device))
        return {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "torch's device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "torch's compiler": self.compiler.description,
        }

    def prepare(self, workload: str, arguments: dict[str, Any]) -> int:
        """Prepare a workload; return its number."""
        self.workloads.append(WORKLOADS[workload](self.compiler, **arguments))
        return len(self.workloads) - 1

    def results(self, number: int) -> Any:
        """Run a workload once; return its results."""
        torch.compiler.cudagraph_mark_step_begin()
        return to_numpy(self.workloads[number]())

    def clock(self, number: int, queued: int) -> float:
        """Seconds per call of a workload."""
        run = self.workloads[number]
        self.compiler.synchronize()
        start = time.perf_counter()
        for _ in range(queued):
            torch.compiler.cudagraph_mark_step_begin()  # results of the call before may be overwritten
            run()
        self.compiler.synchronize()
        return (time.perf_counter() - start) / queued

    def both_clocks(self, number: int) -> tuple[float, float]:
        """Seconds of a call of a workload, and its CPU seconds in all threads."""
        start, cpu_start = time.perf_counter(), time.process_time()
        self.workloads[number]()
        self.compiler.synchronize()
        return time.perf_counter() - start, time.process_time() - cpu_start

    def forget(self) -> None:
        """Free the memory of all workloads, compiled code included."""
        self.workloads.clear()
        torch.compiler.reset()
        gc.collect()
        if self.compiler.device.type == "cuda":
            torch.cuda.empty_cache()


def to_numpy(results: Any) -> Any:
    """Tree with NumPy arrays instead of tensors."""
    if isinstance(results, torch.Tensor):
        return results.detach().cpu().numpy()
    return [to_numpy(result) for result in results] if isinstance(results, list | tuple) else results


def main() -> None:
    """Serve requests until standard input is closed."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # printed text must not mix with the replies
    child = Child()
    while True:
        try:
            request, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            reply = "done", getattr(child, request)(**arguments)
        except torch.OutOfMemoryError as error:
            reply = "out of memory", str(error)
        except Exception:
            reply = "failed", traceback.format_exc()
        pickle.dump(reply, replies, pickle.HIGHEST_PROTOCOL)
        replies.flush()


if __name__ == "__main__":
    np.seterr(all="ignore")
    torch.manual_seed(0)
    main()
