"""This project's bare training step as a worker: one batch again and again, as train/benchmark.py's "bare"."""

from __future__ import annotations

import time

import numpy as np

from common.mx import mx
from model.graph import num_classes_of
from model.saved import load, require_card
from symbol.loss import LossConfig
from tools.benchmarks.workers.engine import peak_bytes, timed
from train.devices import DeviceGroup
from train.matching import choose

MOMENTUM, DECAY, RATE = 0.9, 0.0005, 1e-6


class OursTraining:
    """A training graph with its optimiser and one batch."""

    def versions(self) -> dict:
        """Return the version."""
        return {"mxnet": mx.__version__}

    def do_load(self, prefix: str, arrays: str) -> dict:
        """Load a training checkpoint, a batch and its labels, and take one step.

        Args:
            prefix: of the checkpoint.
            arrays: .npz of images (B, 3, H, W) and labels (B, M, 5).
        """
        started = time.perf_counter()
        saved, given, loss = load(prefix), np.load(arrays), LossConfig()
        card = require_card(saved, {})
        self.images, self.labels = mx.nd.array(given["images"]), mx.nd.array(given["labels"])
        contexts = [mx.cpu()]
        matching = choose(
            contexts,
            saved.symbol,
            self.labels.shape,
            data_shape=card.data_shape,
            anchors=card.anchors,
            loss=loss,
            num_classes=num_classes_of(saved.symbol, card.data_shape, prefix),
        )
        inputs = {"data": self.images.shape, **matching.input_shapes}
        self.feed, self.ratio = matching.feed, loss.negative_ratio
        self.devices = DeviceGroup(matching.symbol, contexts, inputs, saved.arg_params, saved.aux_params)
        self.devices.init_optimizer("sgd", None, momentum=MOMENTUM, wd=DECAY, clip=0.0, updates_done=0)
        first = self.step()
        return {"seconds": time.perf_counter() - started, "loss": first, "note": ""}

    def step(self) -> dict:
        """Forward, loss, backward, update, to the end; the sums of the loss before the update."""
        loss = self.devices.forward_backward({"data": self.images, **self.feed(self.labels)})
        self.devices.update(RATE, loss.normaliser(self.ratio))
        mx.nd.waitall()
        return {"cls": loss.cls, "loc": loss.loc, "positives": loss.positives}

    def do_run(self, seconds: float, least: int = 3) -> dict:
        """Take steps for some time and return the seconds of each."""
        return {"times": timed(lambda index: self.step(), 1, seconds, least)}

    def do_memory(self) -> dict:
        """Return the largest resident size that this process has had, in bytes."""
        return {"peak": peak_bytes()}


def make(threads: int) -> OursTraining:
    """Make the worker's engine."""
    return OursTraining()
