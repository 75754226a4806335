"""A graph as nodes that can be taken apart and joined anew: what the passes of model/optimize.py work on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from common.mx import mx

_VERSION = {"mxnet_version": ["int", 10901]}  # without it attributes are taken for those of MXNet 0.8


class Entry(NamedTuple):
    """One output of a node."""

    node: Node
    output: int = 0


@dataclass(eq=False)
class Node:
    """A node of a graph; two are the same only where they are one object.

    Attributes:
        op: its operator, "null" for a variable.
        name: unique in its graph.
        attrs: its attributes as text.
        inputs: what it takes.
        rest: what else the JSON says of it (subgraphs).
    """

    op: str
    name: str
    attrs: dict[str, str] = field(default_factory=dict)
    inputs: list[Entry] = field(default_factory=list)
    rest: dict = field(default_factory=dict)

    def flag(self, name: str, default: bool = False) -> bool:
        """Read an attribute that is True or False."""
        return self.attrs.get(name, str(default)) in ("True", "true", "1")


class NodeGraph:
    """A symbol taken apart.

    Args:
        symbol: any graph; it stays as it is.

    Attributes:
        heads: the graph's outputs.
    """

    def __init__(self, symbol):
        graph = json.loads(symbol.tojson())
        nodes: list[Node] = []
        for entry in graph["nodes"]:
            rest = {
                key: value for key, value in entry.items() if key not in ("op", "name", "attrs", "inputs")
            }
            inputs = [Entry(nodes[number], output) for number, output, *_ in entry["inputs"]]
            nodes.append(Node(entry["op"], entry["name"], dict(entry.get("attrs", {})), inputs, rest))
        self.heads = [Entry(nodes[number], output) for number, output, *_ in graph["heads"]]

    def nodes(self) -> list[Node]:
        """Return the nodes that the outputs need, each behind those that it takes."""
        ordered, seen = [], set()
        for head in self.heads:
            for node in _depth_first(head.node, seen):
                ordered.append(node)
        return ordered

    def node(self, name: str) -> Node | None:
        """Return the node of that name; None where the outputs need none."""
        return next((node for node in self.nodes() if node.name == name), None)

    def consumers(self) -> dict[Entry, list[Node | None]]:
        """Return who takes each output of each node; None stands for the graph's own output."""
        found = defaultdict(list)
        for node in self.nodes():
            for entry in node.inputs:
                found[entry].append(node)
        for head in self.heads:
            found[head].append(None)
        return found

    def replace(self, old: Entry, new: Entry) -> None:
        """Let everything that took `old` take `new`."""
        for node in self.nodes():
            if node is not new.node:
                node.inputs = [new if entry == old else entry for entry in node.inputs]
        self.heads = [new if head == old else head for head in self.heads]

    def symbol(self):
        """Return the graph as a symbol, without the nodes that its outputs do not need."""
        nodes = self.nodes()
        number = {node: index for index, node in enumerate(nodes)}
        entries = [
            {
                **node.rest,
                "op": node.op,
                "name": node.name,
                "attrs": node.attrs,
                "inputs": [[number[entry.node], entry.output, 0] for entry in node.inputs],
            }
            for node in nodes
        ]
        graph = {
            "nodes": entries,
            "arg_nodes": [index for index, node in enumerate(nodes) if node.op == "null"],
            "heads": [[number[head.node], head.output, 0] for head in self.heads],
            "attrs": _VERSION,
        }
        return mx.sym.load_json(json.dumps(graph))


def _depth_first(node: Node, seen: set[Node]) -> Iterator[Node]:
    """Yield a node's unseen ancestors and the node, without recursion: graphs are deep."""
    stack = [(node, iter(node.inputs))]
    if node in seen:
        return
    seen.add(node)
    while stack:
        current, inputs = stack[-1]
        for entry in inputs:
            if entry.node not in seen:
                seen.add(entry.node)
                stack.append((entry.node, iter(entry.node.inputs)))
                break
        else:
            stack.pop()
            yield current
