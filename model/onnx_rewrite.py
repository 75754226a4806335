"""From any graph of MXNet's to one that its ONNX exporter translates right: the machinery; the rules stand beside it.

The exporter of MXNet 1.9.1 takes a graph as its JSON says it. It fills in wrong defaults, leaves operators out, passes
MXNet's codes for shapes on, and joins names, so that two layers can come to share one. Hence each node is built anew:
with every attribute stated, operators replaced by others that it knows (model/onnx_operators.py), shapes written out
but for the batch, and names that begin with the node's number. Results do not change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from common.errors import ExportError
from common.mx import mx, quiet

FREE = -1  # the size of an axis that grows with the batch
_INPUT = "data"
_TRUE = ("True", "true", "1")

Ref = tuple[int, int]  # a node's number and which of its outputs


@dataclass(frozen=True)
class Node:
    """A node to be rewritten.

    Attributes:
        op: its operator.
        name: as in the graph.
        attrs: its attributes as text.
        inputs: where they come from in the new graph.
        in_shapes: of its inputs, with FREE for an axis that grows with the batch.
        out_shapes: of its outputs.
    """

    op: str
    name: str
    attrs: dict
    inputs: list[Ref]
    in_shapes: list[tuple]
    out_shapes: list[tuple]

    def flag(self, name: str, default: bool = False) -> bool:
        """Read an attribute that is True or False."""
        return self.attrs.get(name, str(default)) in _TRUE

    def numbers(self, name: str, default: tuple = ()) -> tuple[int | None, ...]:
        """Read an attribute of whole numbers: "(1, 2)", "[1,None]" or "3"; the default where it is None or empty."""
        text = self.attrs.get(name, "None")
        found = re.findall(r"-?\d+|None", text)
        if text == "None" or not found:
            return default
        return tuple(None if number == "None" else int(number) for number in found)


@dataclass
class NewGraph:
    """The graph in the making.

    Attributes:
        params: name in the graph that was given -> array; what the new one uses stands in `used`.
        nodes: JSON nodes.
        used: new name -> array.
    """

    params: dict
    nodes: list[dict] = field(default_factory=list)
    used: dict = field(default_factory=dict)

    def add(self, op: str, name: str, inputs: list[Ref], **attrs) -> Ref:
        """Append a node and return its first output."""
        number = len(self.nodes)
        texts = {key: value if isinstance(value, str) else str(value) for key, value in attrs.items()}
        entries = [[*ref, 0] for ref in inputs]
        self.nodes.append({"op": op, "name": f"{number}/{name}", "attrs": texts, "inputs": entries})
        return number, 0

    def constant(self, name: str, array) -> Ref:
        """Append an array (NDArray, or anything that becomes one) as a parameter."""
        ref = self.add("null", name, [])
        self.used[self.nodes[ref[0]]["name"]] = (
            array if isinstance(array, mx.nd.NDArray) else mx.nd.array(array)
        )
        return ref

    def variable(self, name: str, file: str) -> Ref:
        """Append the input, or a parameter that the graph was given with.

        Raises:
            ExportError: there is no parameter of that name.
        """
        if name == _INPUT:
            number = len(self.nodes)
            self.nodes.append({"op": "null", "name": _INPUT, "inputs": []})
            return number, 0
        if name not in self.params:
            raise ExportError(f"{file}: parameter {name} is missing: the parameters are of another network")
        return self.constant(name, self.params[name])

    def symbol(self, heads: list[Ref]):
        """Return the graph with these outputs."""
        variables = [number for number, node in enumerate(self.nodes) if node["op"] == "null"]
        graph = {
            "nodes": self.nodes,
            "arg_nodes": variables,
            "heads": [[*ref, 0] for ref in heads],
            # Otherwise the attributes are taken for those of MXNet 0.8 and converted.
            "attrs": {"mxnet_version": ["int", 10901]},
        }
        return mx.sym.load_json(json.dumps(graph))


@dataclass(frozen=True)
class Rewritten:
    """A graph that the exporter translates right.

    Attributes:
        symbol: with the input `data`.
        params: name -> array, for arguments and auxiliary states alike.
        free_batch: whether it takes batches of any size.
    """

    symbol: object
    params: dict
    free_batch: bool


def rewrite(symbol, params: dict, data_shape: tuple[int, int], rules: dict, name: str) -> Rewritten:
    """Build a graph anew for the exporter.

    Args:
        symbol: a graph with the input `data`.
        params: name -> array, arguments and auxiliary states.
        data_shape: (height, width) of the input.
        rules: operator -> function (NewGraph, Node) -> where its outputs come from now, a Ref for each.
        name: of the file, for messages.

    Raises:
        ExportError: a parameter is missing, or the graph does not take such an input.
    """
    internals = symbol.get_internals()
    graph = json.loads(symbol.tojson())
    entries = [tuple(entry[:2]) for entry in json.loads(internals.tojson())["heads"]]
    outputs = [entries.index(tuple(head[:2])) for head in graph["heads"]]
    shapes, free_batch = _shapes(internals, outputs, data_shape, name)
    shape_of = dict(zip(entries, shapes))
    new, moved = NewGraph(params), {}
    for number, json_node in enumerate(graph["nodes"]):
        inputs = [tuple(entry[:2]) for entry in json_node["inputs"]]
        _check_inputs(json_node, [ref for ref in inputs if ref not in moved], graph["nodes"], name)
        node = Node(
            op=json_node["op"],
            name=json_node["name"],
            attrs=json_node.get("attrs", {}),
            inputs=[moved[ref] for ref in inputs],
            in_shapes=[shape_of[ref] for ref in inputs],
            out_shapes=[shape for (owner, _), shape in zip(entries, shapes) if owner == number],
        )
        for output, ref in enumerate(_rewritten(new, node, rules, name)):
            moved[number, output] = ref
    rewritten = new.symbol([moved[tuple(head[:2])] for head in graph["heads"]])
    there = {*rewritten.list_arguments(), *rewritten.list_auxiliary_states()}
    return Rewritten(rewritten, {key: new.used[key] for key in new.used if key in there}, free_batch)


def _rewritten(new: NewGraph, node: Node, rules: dict, name: str) -> list[Ref]:
    """Append what stands for a node and return its outputs."""
    if node.op == "null":
        return [new.variable(node.name, name)]
    if node.op in rules:
        return rules[node.op](new, node)
    number, _ = new.add(node.op, node.name, node.inputs, **node.attrs)
    return [(number, output) for output in range(len(node.out_shapes))]


def _check_inputs(json_node: dict, missing: list[Ref], nodes: list[dict], name: str) -> None:
    """Refuse a node that takes an output which a rule does not give (the statistics of BatchNorm, a mask)."""
    if missing:
        number, output = missing[0]
        raise ExportError(
            f"{name}: {json_node['name']} ({json_node['op']}) takes output {output} of {nodes[number]['name']}"
            f" ({nodes[number]['op']}), which ONNX has not: only its first output can be used"
        )


def _shapes(
    internals, outputs: list[int], data_shape: tuple[int, int], name: str
) -> tuple[list[tuple], bool]:
    """Return the shape of every entry of a graph, and whether the graph takes batches of any size.

    Args:
        internals: all entries of the graph.
        outputs: which of them are its outputs.
        data_shape: (height, width) of the input.
        name: of the file, for messages.
    """
    single = _infer(internals, 1, data_shape)
    if single is None:
        raise ExportError(
            f"{name}: the graph does not take an input of {data_shape}: give another --data-shape"
        )
    double, triple = _infer(internals, 2, data_shape), _infer(internals, 3, data_shape)
    if double is None or triple is None:
        return single, False
    merged = [
        tuple(one if one == two else FREE for one, two in zip(shape, other))
        for shape, other in zip(double, triple)
    ]
    # MXNet lets a reshape that states the batch lose images; then the outputs do not grow with it.
    grows = all(merged[output][:1] == (FREE,) for output in outputs)
    if not grows or any(shape.count(FREE) > 1 for shape in merged):
        return single, False
    return merged, True


def _infer(internals, batch: int, data_shape: tuple[int, int]) -> list[tuple] | None:
    """Return the shapes of a graph's outputs, None where it does not take such a batch."""
    try:
        with quiet():
            _, shapes, _ = internals.infer_shape(data=(batch, 3, *data_shape))
    except mx.base.MXNetError:
        return None
    return shapes
