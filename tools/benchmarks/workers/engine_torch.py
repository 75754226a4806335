"""PyTorch on the CPU: the ONNX file through onnx2torch, channels last, inference mode.

It runs in the faster of two ways, tried at loading: eager, or traced and frozen, which folds BatchNorm.
"""

from __future__ import annotations

import warnings
from statistics import median

import torch
from engine import Engine, timed
from onnx_to_torch import convert


class Torch(Engine):
    """PyTorch's module."""

    def versions(self) -> dict:
        """Return the versions."""
        return {"torch": torch.__version__}

    def load(self, model: str) -> None:
        """Turn a network into a module and take the faster way to run it."""
        torch.set_num_threads(self.threads)
        self.batches = [
            torch.from_numpy(batch).contiguous(memory_format=torch.channels_last) for batch in self.batches
        ]
        eager = convert(model).eval().to(memory_format=torch.channels_last)
        self.module, self.note = eager, "channels last, eager"
        try:
            frozen = freeze(eager, self.batches[0])
            seconds = {}
            for module in (eager, frozen, eager, frozen):
                self.module = module
                seconds[module] = median(timed(self.infer, len(self.batches), 0.5, 3)[1:])
            self.module = min(seconds, key=seconds.get)
            self.note = f"channels last, {'frozen' if self.module is frozen else 'eager'}"
        except RuntimeError:  # what onnx2torch made cannot be traced
            self.module = eager

    def infer(self, index: int):
        """Run the module."""
        with torch.inference_mode():
            return tuple(self.module(self.batches[index]))


def freeze(module, example):
    """Return a module traced, frozen and optimised for inference."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module, example)))


def make(threads: int) -> Torch:
    """Make the engine."""
    return Torch(threads)
