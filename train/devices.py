"""The training graph on one or several devices: the batch is split, the gradients are summed, every copy updates alike.

Every device's gradient is of plain sums; the whole batch's positives divide them at the update. So several devices
do what one would do with the whole batch, but for BatchNorm, whose statistics are those of each device's part.
So do several processes, each with its devices (train/workers.py): devices are numbered over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError
from common.mx import mx
from train.amp import all_finite
from train.optimizer import make_optimizer, restore_states, scale_rates, states_to_arrays


@dataclass(frozen=True)
class BatchLoss:
    """What one batch's forward pass says, summed over its images.

    Attributes:
        cls: softmax cross-entropy of positives and mined negatives.
        loc: smooth L1 of the positives.
        positives: matched default boxes.
        negatives: mined default boxes.
    """

    cls: float
    loc: float
    positives: float
    negatives: float

    def normaliser(self, negative_ratio: float) -> float:
        """Return what the loss is divided by: the batch's positives (Caffe's scale).

        Where a least number of negatives asks for more than `negative_ratio` of them for each positive (images
        without objects), as many positives as would have brought those negatives; at least 1.
        """
        return max(1.0, self.positives, self.negatives / negative_ratio if negative_ratio > 0 else 0.0)


def _are_equal(arrays: list) -> bool:
    """Tell whether devices hold the same numbers."""
    first, *others = (array.asnumpy() for array in arrays)
    return all(np.array_equal(first, other) for other in others)


class DeviceGroup:
    """Executors of one training graph, one for each device, with equal parameters.

    Args:
        symbol: a training graph (symbol/loss.py), four outputs.
        contexts: the devices.
        input_shapes: name -> shape of its inputs for this process's whole batch, `data` among them.
        arg_params: name -> NDArray.
        aux_params: name -> NDArray.
        frozen: names of parameters that stay as they are.
        workers: the processes that train together (train/workers.py); None for this one alone.

    Raises:
        ConfigError: the batch cannot be split evenly.
    """

    def __init__(self, symbol, contexts, input_shapes: dict, arg_params, aux_params, frozen=(), workers=None):
        parts, batch = len(contexts), input_shapes["data"][0]
        if batch % parts:
            raise ConfigError(
                f"--batch-size {batch}: cannot be split over {parts} devices: give a multiple of {parts}"
            )
        self._share = batch // parts
        inputs = {name: (self._share, *shape[1:]) for name, shape in input_shapes.items()}
        self._inputs = tuple(inputs)
        self._symbol, self._contexts = symbol, list(contexts)
        self.parameters = [n for n in symbol.list_arguments() if n not in inputs]
        self.trainable = [n for n in self.parameters if n not in frozen]
        grad_req = {n: "write" if n in self.trainable else "null" for n in symbol.list_arguments()}
        # Said, since MXNet does not find it out through the casts of a graph in mixed precision.
        types = dict.fromkeys(symbol.list_arguments(), "float32")
        self._executors = [
            symbol.simple_bind(ctx, grad_req=grad_req, type_dict=types, **inputs) for ctx in contexts
        ]
        self.set_params(arg_params, aux_params)
        # Set before the first push: a store that is initialised earlier keeps the old values.
        self._store = None
        self._workers = workers
        if parts > 1 and not self._is_shared:
            kind = "device" if contexts[0].device_type == "gpu" else "local"
            self._store = mx.kv.create((workers and workers.local) or kind)
            for name in self.trainable:
                self._store.init(name, self._executors[0].grad_dict[name])
        self._optimizers, self._updaters = [], []
        self._once = None
        self._scaler, self.loss_scale = None, 1.0

    @property
    def _is_shared(self) -> bool:
        """Whether other processes train with this one."""
        return self._workers is not None and self._workers.store is not None

    @property
    def symbol(self):
        """The training graph."""
        return self._symbol

    @property
    def first(self):
        """The first device's executor, for whoever looks on (train/monitor.py)."""
        return self._executors[0]

    def make_twin(self):
        """Return another executor of the first device, over the same parameters, gradients and working memory."""
        first = self._executors[0]
        gradients = {name: array for name, array in first.grad_dict.items() if array is not None}
        return self._symbol.bind(
            self._contexts[0],
            args=first.arg_dict,
            args_grad=gradients,
            grad_req={name: "write" if name in gradients else "null" for name in first.arg_dict},
            aux_states=first.aux_dict,
            shared_exec=first,
        )

    def run_once(self, twin) -> None:
        """Let a twin of the first device's executor compute the next batch in its place, to the same result."""
        self._once = twin

    def set_params(self, arg_params: dict, aux_params: dict) -> None:
        """Give every device these parameters."""
        for executor in self._executors:
            executor.copy_params_from(arg_params, aux_params, allow_extra_params=True)

    def init_optimizer(
        self,
        name: str,
        states: dict | None,
        *,
        multipliers: dict[str, float] | None = None,
        scaler=None,
        **settings,
    ) -> None:
        """Make one optimiser for each device, so that all copies stay alike without sending weights around.

        Args:
            name: of the optimiser.
            states: saved states, or None at the start of a run.
            multipliers: name -> what multiplies the learning rate of a parameter, beside its layer's own.
            scaler: of a graph in mixed precision (train/amp.py); None for another.
            **settings: of `make_optimizer`.
        """
        if scaler is not None:
            scaler.restore(states or {})
            settings = {**settings, "updates_done": settings["updates_done"] - scaler.skipped}
            self._scaler = scaler
        for executor in self._executors:
            optimizer = make_optimizer(name, self._symbol, self.trainable, **settings)
            scale_rates(optimizer, multipliers or {})
            updater = mx.optimizer.get_updater(optimizer)
            if states is not None:
                weights = [executor.arg_dict[n] for n in self.trainable]
                restore_states(updater, optimizer, weights, self.trainable, states)
            self._optimizers.append(optimizer)
            self._updaters.append(updater)

    def forward_backward(self, inputs: dict) -> BatchLoss:
        """Run a batch forward and backward; waits for the forward pass alone.

        Args:
            inputs: name -> array of the whole batch, NDArray or numpy.
        """
        executors = [self._once or self._executors[0], *self._executors[1:]]
        self._once = None
        for part, executor in enumerate(executors):
            begin, end = part * self._share, (part + 1) * self._share
            for name in self._inputs:
                executor.arg_dict[name][:] = inputs[name][begin:end]
            executor.forward(is_train=True)
            executor.backward(self._head_gradients(executor))
        # float64: the sum over devices must not depend on how the batch was split.
        outputs = [[out.asnumpy().astype(np.float64) for out in ex.outputs[:4]] for ex in executors]
        sums = [float(sum(part[i].sum() for part in outputs)) for i in range(4)]
        return BatchLoss(*sums)

    def _head_gradients(self, executor) -> list | None:
        """Return what the outputs' gradients begin with; None where the losses begin their own, with 1."""
        if self._scaler is None:
            return None
        self.loss_scale = self._scaler.scale
        scales = (self.loss_scale, self.loss_scale, 0, 0)
        return [mx.nd.full(out.shape, value, out.context) for out, value in zip(executor.outputs, scales)]

    def update(self, rate: float, normaliser: float) -> None:
        """Sum the gradients of all devices, divide, and update the parameters.

        Args:
            rate: the learning rate.
            normaliser: what the sums are divided by.
        """
        if self._is_shared:
            every = [[executor.grad_dict[name] for executor in self._executors] for name in self.trainable]
            self._workers.sum_gradients(self.trainable, every)
        elif self._store is not None:
            for priority, name in enumerate(self.trainable):
                grads = [executor.grad_dict[name] for executor in self._executors]
                self._store.push(name, grads, priority=-priority)
                self._store.pull(name, grads, priority=-priority)
        if self._scaler is not None:  # summed, so all devices and processes find the same
            first = self._executors[0]
            if not self._scaler.after(finite=all_finite(first.grad_dict[name] for name in self.trainable)):
                return
        indices = list(range(len(self.trainable)))
        for executor, optimizer, updater in zip(self._executors, self._optimizers, self._updaters):
            optimizer.lr = rate
            optimizer.rescale_grad = 1.0 / (normaliser * self.loss_scale)
            grads = [executor.grad_dict[name] for name in self.trainable]
            updater(indices, grads, [executor.arg_dict[name] for name in self.trainable])

    def average_aux(self) -> None:
        """Give every device the mean of the devices' auxiliary states (BatchNorm's statistics)."""
        if len(self._executors) == 1 and not self._is_shared:
            return
        everywhere = self._aux_everywhere()
        for name in self._executors[0].aux_dict:
            arrays = [states[name] for states in everywhere]
            if _are_equal(arrays):  # frozen: the mean of three equal numbers may be another
                continue
            mean = sum(arrays) / len(arrays)
            for executor in self._executors:
                mean.copyto(executor.aux_dict[name])

    def _aux_everywhere(self) -> list[dict]:
        """Return copies of the auxiliary states, on the CPU, of each device of each process."""
        self._wait()
        own = [
            {name: array.copyto(mx.cpu()) for name, array in executor.aux_dict.items()}
            for executor in self._executors
        ]
        if not self._is_shared:
            return own
        flat = {
            f"{number}:{name}": array for number, states in enumerate(own) for name, array in states.items()
        }
        return [
            {name: arrays[f"{number}:{name}"] for name in states}
            for arrays in self._workers.gather_arrays("auxiliary states", flat)
            for number, states in enumerate(own)
        ]

    def aux_by_device(self) -> dict:
        """Return the auxiliary states of the second device and those after it: within an epoch they differ.

        Returns:
            "device1:NAME" -> NDArray on the CPU.
        """
        return {
            f"device{number}:{name}": array
            for number, states in enumerate(self._aux_everywhere()[1:], start=1)
            for name, array in states.items()
        }

    def set_aux_by_device(self, arrays: dict) -> None:
        """Give devices their own auxiliary states again; a device without keeps what all were given.

        Args:
            arrays: as `aux_by_device` returns them; other names are left alone.
        """
        first = self._workers.number * len(self._executors) if self._is_shared else 0
        for number, executor in enumerate(self._executors, start=first):
            for name, array in executor.aux_dict.items():
                saved = arrays.get(f"device{number}:{name}")
                if saved is not None:
                    saved.copyto(array)

    def params(self) -> tuple[dict, dict]:
        """Return copies of (arguments, auxiliary states) on the CPU, without the inputs."""
        self._wait()
        executor = self._executors[0]
        arguments = {n: a.copyto(mx.cpu()) for n, a in executor.arg_dict.items() if n not in self._inputs}
        return arguments, {n: a.copyto(mx.cpu()) for n, a in executor.aux_dict.items()}

    @staticmethod
    def _wait() -> None:
        """Wait for the last batch: the engine does not know that a backward pass writes BatchNorm's statistics."""
        mx.nd.waitall()

    def states(self) -> dict:
        """Return the optimiser's states as named arrays on the CPU."""
        states = states_to_arrays(self._updaters[0].states, self.trainable)
        return states if self._scaler is None else {**states, **self._scaler.states()}
