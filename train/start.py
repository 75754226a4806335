"""The parameters that a run starts from: random ones, with what fits of a pretrained file put over them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from common.errors import CheckpointError
from common.mx import mx
from model.card import read_card
from model.old_files import renamed
from model.parameters import load_arrays, split_params
from model.saved import params_path, resolve_epoch

log = logging.getLogger(__name__)


def initial_params(
    symbol, input_shapes: dict[str, tuple], seed: int, known: dict | None = None
) -> tuple[dict, dict]:
    """Draw a training graph's parameters: Xavier, or what a parameter's own attribute says.

    Args:
        symbol: the training graph.
        input_shapes: name -> shape of its inputs.
        seed: equal seeds give equal parameters, whatever was drawn before.
        known: name -> NDArray that stands in place of what would be drawn, where its shape is the graph's.

    Returns:
        (arg_params, aux_params) on the CPU.
    """
    arg_shapes, _, aux_shapes = symbol.infer_shape(**input_shapes)
    attributes = symbol.attr_dict()
    initializer, known = mx.init.Xavier(), known or {}
    mx.random.seed(seed)

    def draw(names, shapes):
        arrays = {}
        for name, shape in zip(names, shapes):
            if name in known and known[name].shape == shape:
                arrays[name] = known[name].astype("float32")
            elif name not in input_shapes:
                arrays[name] = mx.nd.zeros(shape)
                initializer(mx.init.InitDesc(name, attributes.get(name)), arrays[name])
        return arrays

    return (
        draw(symbol.list_arguments(), arg_shapes),
        draw(symbol.list_auxiliary_states(), aux_shapes),
    )


@dataclass(frozen=True)
class Transfer:
    """What a pretrained file gave.

    Attributes:
        matched: parameters taken, name and shape equal.
        misshapen: parameters of an equal name and another shape, left as initialised.
        initialised: parameters that the file does not hold.
        unused: the file's parameters that the network does not have.
    """

    matched: list[str]
    misshapen: list[str]
    initialised: list[str]
    unused: list[str]

    def lines(self, prefix: str) -> list[str]:
        """Return the report as lines of text."""
        rows = [f"pretrained {prefix}: {len(self.matched)} parameters taken"]
        for title, names in (
            ("of another shape, newly initialised", self.misshapen),
            ("not in the file, newly initialised", self.initialised),
            ("in the file, not in the network, left out", self.unused),
        ):
            if names:
                shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                rows.append(f"  {len(names)} {title}: {shown}")
        return rows


def transfer(
    params: tuple[dict, dict], prefix: str, epoch: str | int | None
) -> tuple[tuple[dict, dict], Transfer]:
    """Put a pretrained file's parameters over initial ones, where name and shape are equal.

    Args:
        params: initial (arg_params, aux_params); not changed.
        prefix: of the pretrained file.
        epoch: of the pretrained file.

    Returns:
        (the new parameters, what was taken).

    Raises:
        CheckpointError: the file cannot be read, or no learned parameter of it fits.
    """
    card = read_card(prefix)
    number = resolve_epoch(prefix, epoch, card, flags=("--pretrained", "--epoch"))
    path = params_path(prefix, number)
    loaded = split_params(load_arrays(path, card.epochs[number].get("sha256") if card else None), path)
    loaded = tuple(renamed(theirs, mine) for theirs, mine in zip(loaded, params))
    return put_over(params, loaded, f"--pretrained {path}")


def put_over(
    params: tuple[dict, dict], loaded: tuple[dict, dict], where: str
) -> tuple[tuple[dict, dict], Transfer]:
    """Put loaded parameters over initial ones, where name and shape are equal.

    Args:
        params: initial (arg_params, aux_params); not changed.
        loaded: (arg_params, aux_params) of some network.
        where: they come from, for messages.

    Returns:
        (the new parameters, what was taken).

    Raises:
        CheckpointError: no learned parameter fits.
    """
    matched, misshapen, initialised, unused, result = [], [], [], [], []
    for mine, theirs in zip(params, loaded):
        merged = dict(mine)
        for name, array in mine.items():
            if name not in theirs:
                initialised.append(name)
            elif theirs[name].shape != array.shape:
                misshapen.append(name)
            else:
                merged[name] = theirs[name].astype("float32")
                matched.append(name)
        unused += [name for name in theirs if name not in mine]
        result.append(merged)
    report = Transfer(matched, misshapen, initialised, unused)
    if not any(name.endswith("_weight") for name in matched):
        raise CheckpointError(
            f"{where}: no weight of it fits the network ({len(unused)} unknown names, {len(misshapen)} of"
            " another shape): it is of another network; give its own --network, or --pretrained '' to start anew"
        )
    return tuple(result), report
