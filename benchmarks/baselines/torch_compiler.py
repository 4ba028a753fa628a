"""torch.compile where it works, and the functions as they are where it does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Mode = Literal["default", "reduce-overhead"]


@dataclass(frozen=True)
class Compiler:
    """Compiles for one device.

    Attributes:
        device: where tensors are made.
        works: whether torch.compile does, which on a processor needs a C++ compiler.
    """

    device: torch.device
    works: bool

    @property
    def description(self) -> str:
        """For the line that says where a benchmark ran."""
        return "inductor" if self.works else "none works here: eager"

    def __call__(self, function: Callable, *, many_small: bool = False) -> Callable:
        """Compile as a whole, or fail: a part left to Python, or shapes left open, would not be noticed.

        Args:
            function: or module.
            many_small: whether launching its kernels takes longer than they do, so that a GPU should replay them all
                as one CUDA graph.
        """
        if not self.works:
            return function
        mode = "reduce-overhead" if many_small and self.device.type == "cuda" else "default"
        return torch.compile(function, fullgraph=True, dynamic=False, mode=mode)

    def tensor(self, array: Any) -> torch.Tensor:
        """A NumPy array on the device."""
        return torch.tensor(array, device=self.device)

    def still(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, which stays where it is: a CUDA graph then reads it there, and does not copy it for each call."""
        if self.works:
            torch._dynamo.mark_static_address(tensor)
        return tensor

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def make_compiler(device: torch.device) -> Compiler:
    """Try it on something small."""
    try:
        torch.compile(lambda x: (x * x).sum() + 1, fullgraph=True)(torch.ones(64, device=device))
        works = True
    except Exception:
        works = False
    return Compiler(device, works)
