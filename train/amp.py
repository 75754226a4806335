"""--amp: mixed precision. Convolutions compute in half precision; weights, their update, loss and checkpoints do not.

The trained graph is a copy with casts in it: parameters stay float32 (they are the master weights) and are cast where a
convolution reads them, so their gradients arrive as float32. What is elementwise follows its input; all else, the
default boxes, matching, mining and losses among it, is float32. The saved graph has no casts.

Half precision loses gradients below 6e-8, so the losses' gradients are multiplied by a scale and the sums divided by it
at the update. A batch whose gradients are not finite is skipped, and the scale halved; after many good ones it is
doubled (Micikevicius et al. 2018, section 3.2). Scales are powers of two, so that they change no digit.

Own conversion in place of `mx.contrib.amp.convert_symbol`: that one fails on the training graph (the type of `pick`'s
index is unknown to it). Written for GPUs and tested on the CPU as far as it goes: graph, types, scaling and skipping;
no GPU has run it. On CPUs MXNet 1.9.1 has no product of float16 matrices, and with bfloat16 it corrupts its memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.errors import ConfigError
from common.mx import mx

HALF, FULL = "float16", "float32"
# What tensor cores are for: inputs and weights are cast.
_COMPUTES_HALF = {"Convolution", "Deconvolution", "FullyConnected"}
# Same values at any precision, or statistics that MXNet keeps in float32: these take their input as it comes.
_FOLLOWS = {
    "Activation", "BatchNorm", "Concat", "Crop", "Dropout", "Flatten", "LeakyReLU", "Pad", "Pooling", "Reshape",
    "SliceChannel", "UpSampling", "_copy", "_mul_scalar", "_plus_scalar", "broadcast_add", "broadcast_mul", "clip",
    "elemwise_add", "elemwise_mul", "expand_dims", "relu", "slice", "slice_axis", "transpose",
}  # fmt: skip
_KEEPS_PARAMETERS = {"BatchNorm"}  # only their first input is data
_STEPS_TO_GROW = 2000
_STATE = "amp/0"


def check_devices(contexts: list) -> None:
    """Refuse devices that cannot compute so.

    Raises:
        ConfigError: they are CPUs.
    """
    if contexts[0].device_type != "gpu":
        raise ConfigError(
            "--amp: wants NVIDIA GPUs; MXNet 1.9.1 cannot train in half precision on a CPU: leave it out, or give"
            " --gpus"
        )


def mixed_symbol(symbol, half: str = HALF):
    """Return a training graph whose convolutions compute in half precision.

    Args:
        symbol: from symbol/loss.py; not changed.
        half: the type of theirs.

    Returns:
        A graph with the same arguments, auxiliary states and outputs, all float32, whose gradient begins at its
        outputs: `backward` wants a gradient for each, where the losses' own were 1.
    """
    graph = json.loads(symbol.tojson())
    casts = _Casts(graph["nodes"], half)
    for node in graph["nodes"]:
        casts.add(node)
    graph["heads"] = [casts.entry(head, FULL) for head in graph["heads"]]
    graph["nodes"] = casts.nodes
    graph["arg_nodes"] = [number for number, node in enumerate(casts.nodes) if node["op"] == "null"]
    graph["node_row_ptr"] = list(range(len(casts.nodes) + 1))
    return mx.sym.load_json(json.dumps(graph))


@dataclass
class _Casts:
    """Copies nodes, with casts between them.

    Attributes:
        old: nodes of the graph as it is.
        half: the type of convolutions.
        nodes: of the new graph.
        places: number of an old node -> of the new one.
        halves: numbers of old nodes whose outputs are in half precision.
        made: (number of an old node, output, type) -> number of the cast.
    """

    old: list[dict]
    half: str
    nodes: list[dict] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    halves: set[int] = field(default_factory=set)
    made: dict[tuple, int] = field(default_factory=dict)

    def add(self, node: dict) -> None:
        """Copy the next node."""
        entries, number = node["inputs"], len(self.places)
        data = entries[:1] if node["op"] in _KEEPS_PARAMETERS else entries
        is_half = node["op"] in _COMPUTES_HALF or (
            node["op"] in _FOLLOWS and bool(data) and all(entry[0] in self.halves for entry in data)
        )
        if is_half:
            self.halves.add(number)
        wanted = [self.half if is_half and entry in data else FULL for entry in entries]
        # A loss that begins its own gradient would begin it with 1, and the scale changes while it is trained.
        op = {"MakeLoss": "_copy"}.get(node["op"], node["op"])
        attributes = {} if node["op"] == "MakeLoss" else node.get("attrs", {})
        inputs = [self.entry(entry, kind) for entry, kind in zip(entries, wanted)]
        copied = {**node, "op": op, "inputs": inputs, **({"attrs": attributes} if attributes else {})}
        if not attributes:
            copied.pop("attrs", None)
        self.nodes.append(copied)
        self.places.append(len(self.nodes) - 1)

    def entry(self, entry: list, kind: str) -> list:
        """Return an old node's output in the new graph, cast where its type is another."""
        number, output = entry[:2]
        has = self.half if number in self.halves else FULL
        if has == kind:
            return [self.places[number], output, *entry[2:]]
        key = (number, output, kind)
        if key not in self.made:
            name = f"{self.old[number]['name']}_{output}_as_{kind}"
            source = [self.places[number], output, 0]
            self.nodes.append({"op": "amp_cast", "name": name, "attrs": {"dtype": kind}, "inputs": [source]})
            self.made[key] = len(self.nodes) - 1
        return [self.made[key], 0, 0]


@dataclass
class LossScaler:
    """What the losses' gradients are multiplied by.

    Attributes:
        scale: now; a power of two.
        good: updates since it changed.
        skipped: batches without an update, over the whole run.
        grow_after: good updates that double it.
        least: the smallest scale.
        most: the largest.
    """

    scale: float = 2.0**16
    good: int = 0
    skipped: int = 0
    grow_after: int = _STEPS_TO_GROW
    least: float = 1.0
    most: float = 2.0**24

    def after(self, *, finite: bool) -> bool:
        """Take note of a batch's gradients; returns whether to update with them.

        Args:
            finite: whether every gradient is.
        """
        if not finite:
            self.scale, self.good = max(self.least, self.scale / 2), 0
            self.skipped += 1
            return False
        self.good += 1
        if self.good >= self.grow_after:
            self.scale, self.good = min(self.most, self.scale * 2), 0
        return True

    def states(self) -> dict:
        """Return its state as an array, to be kept beside the optimiser's."""
        return {_STATE: mx.nd.array([self.scale, self.good, self.skipped])}

    def restore(self, states: dict) -> None:
        """Take what `states` gave; a run that began without --amp has nothing there."""
        if _STATE in states:
            self.scale, good, skipped = (float(value) for value in states[_STATE].asnumpy())
            self.good, self.skipped = int(good), int(skipped)


def all_finite(arrays: Iterable) -> bool:
    """Tell whether all numbers of NDArrays on one device are finite."""
    arrays = list(arrays)
    result = mx.nd.ones((1,), ctx=arrays[0].context)
    for begin in range(0, len(arrays), 200):  # the operator's own limit
        some = arrays[begin : begin + 200]
        mx.nd.multi_all_finite(*some, num_arrays=len(some), init_output=False, out=result)
    return bool(result.asscalar())
