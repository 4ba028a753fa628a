"""Compilation by torch.compile where it works; elsewhere functions run eagerly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Mode = Literal["default", "reduce-overhead"]


@dataclass(frozen=True)
class Compiler:
    """Compiler for one device.

    Attributes:
        device: device of the tensors.
        works: if True, torch.compile works; on a CPU it needs a C++ compiler.
    """

    device: torch.device
    works: bool

    @property
    def description(self) -> str:
        """Description for the results."""
        return "inductor" if self.works else "none works here: eager"

    def __call__(self, function: Callable, *, many_small: bool = False) -> Callable:
        """Compile a function as one graph with static shapes; fail where that is not possible.

        Args:
            function: function or module.
            many_small: if True, a GPU replays all kernels as one CUDA graph, since they take less time than their
                launches.
        """
        if not self.works:
            return function
        mode = "reduce-overhead" if many_small and self.device.type == "cuda" else "default"
        return torch.compile(function, fullgraph=True, dynamic=False, mode=mode)

    def tensor(self, array: Any) -> torch.Tensor:
        """Tensor on the device, from a NumPy array."""
        return torch.tensor(array, device=self.device)

    def still(self, tensor: torch.Tensor) -> torch.Tensor:
        """Tensor marked as static, so a CUDA graph reads it in place and does not copy it for each call."""
        if self.works:
            torch._dynamo.mark_static_address(tensor)
        return tensor

    def synchronize(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def make_compiler(device: torch.device) -> Compiler:
    """Compiler for a device, after a trial on a small function."""
    try:
        torch.compile(lambda x: (x * x).sum() + 1, fullgraph=True)(torch.ones(64, device=device))
        works = True
    except Exception:
        works = False
    return Compiler(device, works)
