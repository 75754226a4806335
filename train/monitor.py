"""--monitor N --pattern REGEX: weights, gradients and activations of the layers, every N batches, first device only.

Weights and running statistics are those after the batch's update, gradients those of the loss as it is logged
(divided like it), activations those of the forward pass. They go to TensorBoard as histograms or, as mxnet-ssd had it,
to the log as one number each.

Deviation from mxnet's Monitor: MXNet computes operator by operator and calls back for each once a callback is set,
and it cannot be unset; so the callback sits on a second executor over the same arrays, which takes the place of the
first for the batches that are looked at. The others run at full speed, and the result is the same to the last bit.
"""

from __future__ import annotations

import ctypes
import logging
import re
from typing import Protocol

from common.errors import ConfigError, did_you_mean
from common.mx import mx
from train.devices import DeviceGroup
from train.observers import BatchDone, Observer

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where a monitor's findings go."""

    def measure(self, array) -> object:
        """Return what is to be kept of an NDArray, which is overwritten soon."""

    def tell(self, tag: str, measured: object, step: int) -> None:
        """Write it down."""


class LogSink:
    """Writes a line for each tensor: batch, name, root of the mean square, in mxnet-ssd's form."""

    def measure(self, array) -> float:
        """Return an NDArray's norm over the root of its size."""
        return float(mx.nd.norm(array.astype("float32")).asscalar()) / array.size**0.5

    def tell(self, tag: str, measured: float, step: int) -> None:
        """Log the line."""
        log.info(f"Batch: {step:7d} {tag:30s} {measured:.6g}")


class Monitor(Observer):
    """Looks at layers every N batches.

    Args:
        devices: the network.
        every: batches from one look to the next; the run's first batch is looked at.
        pattern: regular expression that the beginnings of the names of parameters and outputs are held to.
        sink: told what is seen, under tags like weight/conv1_weight, statistic/bn1_moving_mean,
            gradient/conv1_weight and activation/relu1_output.

    Raises:
        ConfigError: the pattern is no regular expression, or matches nothing.
    """

    def __init__(self, devices: DeviceGroup, *, every: int, pattern: str, sink: Sink):
        self._devices, self._every, self._sink = devices, every, sink
        first, graph = devices.first, devices.symbol
        known = set(graph.list_arguments()) | set(graph.list_auxiliary_states())
        outputs = [name for name in graph.get_internals().list_outputs() if name not in known]
        matches = _compile(pattern)
        self._parameters = [name for name in devices.parameters if matches(name)]
        self._statistics = [name for name in first.aux_dict if matches(name)]
        self._outputs = {name for name in outputs if matches(name)}
        if not (self._parameters or self._statistics or self._outputs):
            raise ConfigError(
                f"--pattern {pattern}: matches no layer of this network: give a regular expression for the beginning"
                f" of a name{did_you_mean(pattern, [*devices.parameters, *outputs])}"
            )
        self._twin = None
        self._activations: dict[str, object] = {}
        self._problem: BaseException | None = None

    def before_batch(self, step: int) -> None:
        """Have the batch's activations told where it is one to be looked at."""
        self._activations, self._problem = {}, None
        if step % self._every or not self._outputs:
            return
        if self._twin is None:
            self._twin = self._devices.make_twin()
            self._twin.set_monitor_callback(self._see)
        self._devices.run_once(self._twin)

    def after_batch(self, done: BatchDone) -> None:
        """Tell what there is to see of a batch."""
        if self._problem is not None:
            raise self._problem
        if done.step % self._every:
            return
        mx.nd.waitall()  # the engine does not know that a backward pass writes BatchNorm's statistics
        first, measure = self._devices.first, self._sink.measure
        seen = {f"weight/{name}": measure(first.arg_dict[name]) for name in self._parameters}
        seen.update({f"statistic/{name}": measure(first.aux_dict[name]) for name in self._statistics})
        scale = done.normaliser * self._devices.loss_scale
        for name in self._parameters:
            if first.grad_dict.get(name) is not None:
                seen[f"gradient/{name}"] = measure(first.grad_dict[name] / scale)
        seen.update({f"activation/{name}": value for name, value in self._activations.items()})
        for tag, measured in seen.items():
            self._sink.tell(tag, measured, done.step)
        self._activations = {}

    def _see(self, name: bytes, handle: int) -> None:
        """Take the output of one operator, of the forward or the backward pass; MXNet's callback.

        What is raised here would be printed and lost, so it waits for the batch's end.
        """
        try:
            # Owns the handle: what is not matched must be freed too.
            array = mx.nd.NDArray(ctypes.cast(handle, mx.base.NDArrayHandle), writable=False)
            output = name.decode()
            if output in self._outputs and self._problem is None:
                self._activations[output] = self._sink.measure(array)
        except BaseException as error:  # noqa: BLE001 (Ctrl-C too: it is raised again)
            self._problem = error


def _compile(pattern: str):
    """Return the pattern's match function.

    Raises:
        ConfigError: it is no regular expression.
    """
    try:
        return re.compile(pattern).match
    except re.error as error:
        raise ConfigError(
            f"--pattern {pattern}: not a regular expression ({error}): .* matches every layer"
        ) from error
