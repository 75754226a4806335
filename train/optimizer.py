"""MXNet's optimisers, made to measure, and their states as plain arrays.

MXNet pickles optimiser states, and a pickle can run code; here they are named arrays. `begin_num_update` carries the
number of updates done, without which Adam's bias correction starts anew after a resume.

Adadelta is MXNet's, as mxnet-ssd used it: it sets its own step, and neither the learning rate nor a layer's multiplier
of it has a part in that.
"""

from __future__ import annotations

import functools

from common.errors import CheckpointError, ConfigError, did_you_mean
from common.mx import mx

OPTIMIZERS = ("sgd", "nag", "adam", "rmsprop", "adadelta")


class _AdaDelta(mx.optimizer.AdaDelta):
    """MXNet's adadelta, but for one thing: that scales the gradient in its place, which whoever looks on would see."""

    def update(self, index, weight, grad, state) -> None:
        """Update a parameter; the gradient stays as it is."""
        super().update(index, weight, grad.copy(), state)


def make_optimizer(
    name: str, symbol, trainable: list[str], *, momentum: float, wd: float, clip: float, updates_done: int
):
    """Make an optimiser whose learning rate and gradient scale the loop sets before every update.

    Args:
        name: one of OPTIMIZERS.
        symbol: the training graph; its attributes carry lr_mult and wd_mult.
        trainable: names of the parameters, in the order of their indices.
        momentum: of SGD, Nesterov's or not.
        wd: weight decay; as everywhere in MXNet it spares biases and BatchNorm's beta.
        clip: each element of the scaled gradient is kept within [-clip, clip]; 0 is off.
        updates_done: updates before this one, of a resumed run.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"--optimizer {name}: no such optimiser{did_you_mean(name, OPTIMIZERS)}")
    own = {"momentum": momentum} if name in ("sgd", "nag") else {}
    make = _AdaDelta if name == "adadelta" else functools.partial(mx.optimizer.create, name)
    return make(
        sym=symbol,
        param_idx2name=dict(enumerate(trainable)),
        wd=wd,
        clip_gradient=clip or None,
        begin_num_update=updates_done,
        **own,
    )


def scale_rates(optimizer, multipliers: dict[str, float]) -> None:
    """Multiply parameters' learning rates, beside what their layers say (biases of new layers learn twice as fast).

    Args:
        optimizer: from `make_optimizer`.
        multipliers: name -> multiplier; the others keep theirs.
    """
    own = dict(optimizer.lr_mult)
    optimizer.set_lr_mult({name: own.get(name, 1.0) * factor for name, factor in multipliers.items()})


def _parts(state) -> tuple:
    """Return an optimiser's state of one parameter as a tuple of arrays; SGD without momentum has none."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def states_to_arrays(states: dict, trainable: list[str]) -> dict:
    """Return an updater's states as named arrays on the CPU.

    Args:
        states: index -> state, `mx.optimizer.Updater.states`.
        trainable: names in the order of the indices.

    Returns:
        "NAME/PART" -> NDArray.
    """
    arrays = {}
    for index, name in enumerate(trainable):
        for part, array in enumerate(_parts(states.get(index))):
            arrays[f"{name}/{part}"] = array.as_in_context(mx.cpu())
    # A file without arrays cannot be told from a broken one.
    return arrays or {"none/0": mx.nd.zeros(1)}


def restore_states(updater, optimizer, weights: list, trainable: list[str], arrays: dict) -> None:
    """Put saved states into an updater.

    Args:
        updater: from `mx.optimizer.get_updater(optimizer)`.
        optimizer: the optimiser.
        weights: the parameters on the updater's device.
        trainable: their names.
        arrays: from `states_to_arrays`.

    Raises:
        CheckpointError: a state is missing or misshapen (another optimiser, or other frozen parameters).
    """
    for index, (name, weight) in enumerate(zip(trainable, weights)):
        state = optimizer.create_state(index, weight)
        for part, array in enumerate(_parts(state)):
            saved = arrays.get(f"{name}/{part}")
            if saved is None or saved.shape != array.shape:
                found = "none" if saved is None else saved.shape
                raise CheckpointError(
                    f"optimiser state {part} of {name}: found {found}, expected {array.shape}:"
                    " resume with the optimiser and the frozen parameters of the first run"
                )
            saved.copyto(array)
        updater.states[index] = state
        updater.states_synced[index] = True
