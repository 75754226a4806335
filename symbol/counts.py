"""What a graph costs: its layers in order, with output shapes, parameters and multiply-adds.

Everything is counted from the shapes that MXNet infers, so it holds for graphs from anywhere: networks by name, saved
detectors, graphs of other systems. One multiply-add is one multiplication with the addition that follows it; papers
call it MAC, MAdd, or (mostly) FLOP. Counted are the layers in which a network spends its time: convolutions, plain,
dilated, grouped and depthwise, deconvolutions and fully connected layers, as in the papers' own figures. Not counted
are additions of biases, activations, pooling, BatchNorm, and what makes and matches default boxes.

Deviation from the exact number: padding is counted as if it were image, and a deconvolution's cut border as if it were
kept, as everywhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import warnings
from dataclasses import dataclass

from common.errors import ConfigError
from common.mx import mx, quiet

# Operator -> the place of its weight among its inputs; all weights are (outputs, ...) but a deconvolution's.
_WEIGHT_OF = {"Convolution": 1, "FullyConnected": 1, "_contrib_DeformableConvolution": 2}


@dataclass(frozen=True)
class Layer:
    """One node of a graph that computes something.

    Attributes:
        name: of the node.
        operator: of MXNet's.
        inputs: names of the nodes it reads that are not parameters.
        shape: of its first output.
        parameters: learned values that it is the first to read: weights, biases, gammas, betas; not running statistics.
        multiply_adds: for the input that the shapes are for.
        attributes: of the operator, as MXNet keeps them.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    attributes: dict[str, str]


def layers(symbol, **inputs: tuple[int, ...]) -> list[Layer]:
    """Return the nodes of a graph in the order in which they compute.

    Args:
        symbol: any graph.
        **inputs: shapes of what is no parameter: data=(1, 3, H, W), label=(1, N, 6).

    Raises:
        ConfigError: the graph does not take these inputs, or needs more.
    """
    internals = symbol.get_internals()
    graph = json.loads(internals.tojson())
    shapes = _shapes(internals, graph, inputs)
    nodes, states, read, found = graph["nodes"], set(symbol.list_auxiliary_states()), set(), []
    for number, node in enumerate(nodes):
        if node["op"] == "null":
            continue
        sources = [tuple(entry[:2]) for entry in node["inputs"]]
        variables = [at for at, _ in sources if nodes[at]["op"] == "null"]
        own = [at for at in variables if nodes[at]["name"] not in states and nodes[at]["name"] not in inputs]
        new, read = sorted(set(own) - read), read | set(own)
        found.append(
            Layer(
                name=node["name"],
                operator=node["op"],
                inputs=tuple(
                    nodes[at]["name"]
                    for at, _ in sources
                    if nodes[at]["op"] != "null" or nodes[at]["name"] in inputs
                ),
                shape=shapes[number, 0],
                parameters=sum(math.prod(shapes[at, 0]) for at in new),
                multiply_adds=_multiply_adds(
                    node["op"], [shapes[source] for source in sources], shapes[number, 0]
                ),
                attributes=node.get("attrs", {}),
            )
        )
    return found


def _shapes(internals, graph: dict, inputs: dict) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return (node, output) -> shape of everything that a graph computes."""
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore", UserWarning)  # of shapes that stay unknown; told below
            _, outputs, _ = internals.infer_shape(**inputs)
    except mx.base.MXNetError as error:
        found = re.search(r"Error in operator ([^\s:]+)", str(error))
        stated = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in inputs.items())
        raise ConfigError(
            f"the graph does not take {stated}: {found.group(1) if found else 'a layer'} cannot compute of it"
        ) from error
    if outputs is None:
        raise ConfigError(f"the graph needs more inputs than {', '.join(inputs)} to know its shapes")
    return {tuple(entry[:2]): tuple(shape) for entry, shape in zip(graph["heads"], outputs)}


@contextlib.contextmanager
def _quiet():
    with quiet():
        yield


def _multiply_adds(operator: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Return the multiply-adds of one node from its inputs' shapes and its output's."""
    if (
        operator in _WEIGHT_OF
    ):  # each value that comes out is one filter over what it sees: (F, C / groups, kh, kw)
        return math.prod(output) * math.prod(inputs[_WEIGHT_OF[operator]][1:])
    if (
        operator == "Deconvolution"
    ):  # each value that goes in is spread by its filters: (C, F / groups, kh, kw)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    return 0


def total_parameters(counted: list[Layer]) -> int:
    """Return the number of learned values of a graph, each counted once however many layers read it."""
    return sum(layer.parameters for layer in counted)


def total_multiply_adds(counted: list[Layer]) -> int:
    """Return the multiply-adds of a graph."""
    return sum(layer.multiply_adds for layer in counted)
