"""A graph bound on devices: one set of parameters on each device, one executor for each batch size in use."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from common.errors import CheckpointError
from common.mx import mx

_MOST_EXECUTORS = 4  # for each device; each holds the memory of all layers' outputs


class Executors:
    """Runs a graph on batches of any size; parameters are shared and can be replaced.

    Args:
        symbol: a graph with the input `data`.
        params: (arg_params, aux_params), name -> NDArray; whole and of the right shapes.
        data_shape: (height, width) of the input.
        devices: contexts, at least one.
    """

    def __init__(self, symbol, params: tuple[dict, dict], data_shape: tuple[int, int], devices: list):
        self.devices = devices
        self._symbol = symbol
        self._data_shape = data_shape
        self._params = [
            tuple({name: array.copyto(device) for name, array in part.items()} for part in params)
            for device in devices
        ]
        self._bound: OrderedDict[tuple[int, int], mx.executor.Executor] = OrderedDict()

    def start(self, inputs: np.ndarray, device: int) -> list:
        """Begin to compute a batch.

        Args:
            inputs: (B, 3, height, width) float32.
            device: index into `devices`.

        Returns:
            The outputs, NDArrays; valid until the next batch of that size is begun on that device.
        """
        executor = self._executor(len(inputs), device)
        executor.arg_dict["data"][:] = inputs
        return executor.forward(is_train=False)

    def _executor(self, batch_size: int, device: int):
        key = (batch_size, device)
        if key not in self._bound:
            if len(self._bound) >= _MOST_EXECUTORS * len(self.devices):
                self._bound.popitem(last=False)  # the one that was not used for longest
            arguments, states = self._params[device]
            data = mx.nd.zeros((batch_size, 3, *self._data_shape), self.devices[device])
            self._bound[key] = self._symbol.bind(
                self.devices[device], {**arguments, "data": data}, grad_req="null", aux_states=states
            )
        self._bound.move_to_end(key)
        return self._bound[key]

    def set_params(self, arg_params: dict, aux_params: dict) -> None:
        """Replace the values of the parameters.

        Args:
            arg_params: name -> NDArray; those that the graph does not use are left out.
            aux_params: name -> NDArray.

        Raises:
            CheckpointError: one is missing or of another shape.
        """
        for mine, given in zip(self._params[0], (arg_params, aux_params)):
            for name, array in mine.items():
                if name not in given or given[name].shape != array.shape:
                    found = given[name].shape if name in given else "nothing"
                    raise CheckpointError(
                        f"parameter {name}: expected the shape {array.shape}, found {found}"
                    )
        for device_params in self._params:
            for mine, given in zip(device_params, (arg_params, aux_params)):
                for name, array in mine.items():
                    given[name].copyto(array)
        # An executor fused for oneDNN keeps its own copy of convolution weights from its first batch on.
        self._bound.clear()
