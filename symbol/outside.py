"""A backbone from outside the project: a Python file with one function, `--network PATH.py` or `PATH.py:FUNCTION`.

The function takes `data`, a Symbol (B, 3, H, W), and returns the feature maps: a Symbol, or a list of them from fine
to coarse. It is called with a name manager of its own, so what it leaves unnamed has the same name in every process;
layers with parameters, and feature maps, must have a name that their author gave: those are the checkpoint's.
The file is run with the rights of the user, as every Python file is. Nothing is written beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import ConfigError
from common.mx import mx
from symbol.outside_file import failure, find_function, run_file, split_name, stated


@dataclass(frozen=True)
class Outside:
    """A network's file, run.

    Attributes:
        network: `PATH.py` or `PATH.py:FUNCTION`, as asked for.
        function: data -> a Symbol or a list of them.
        stated: name -> value of DATA_SHAPE, MEAN, STD, SCALES, RATIOS, STEPS, EXTRAS, RATE, where the file has them.
    """

    network: str
    function: Callable
    stated: dict


class _Names(mx.name.NameManager):
    """A name manager that knows which names it made up."""

    def __init__(self):
        super().__init__()
        self.made: set[str] = set()

    def get(self, name: str | None, hint: str) -> str:
        """Return the explicit name, or a new one."""
        if name:
            return name
        made = super().get(None, hint)
        self.made.add(made)
        return made


def is_outside(network: str) -> bool:
    """Tell whether a network's name is a Python file."""
    return split_name(network) is not None


def load(network: str) -> Outside:
    """Run a network's file.

    Args:
        network: `PATH.py` or `PATH.py:FUNCTION`.

    Raises:
        ConfigError: there is no such file or function, it fails, or a name in it has a value that cannot be.
    """
    path, function = split_name(network)
    if not path.is_file():
        raise ConfigError(f"--network {network}: there is no file {path}")
    module = run_file(path)
    outside = Outside(network, find_function(module, path, function), stated(module, path))
    first, second = (_structure(_whole(outside)) for _ in range(2))
    if first != second:
        pairs = zip([*first, ("an end",)], [*second, ("an end",)])
        one, other = next((mine[0], theirs[0]) for mine, theirs in pairs if mine != theirs)
        raise ConfigError(
            f"{network}: it gives another graph each time it is called: first {one}, then {other}: names and layers"
            " must not count up"
        )
    return outside


def _structure(symbol) -> list[tuple]:
    """Return a graph's nodes; without the versions of states, which count up where a block is called again."""
    return [
        (node["name"], node["op"], node.get("attrs", {}), [entry[:2] for entry in node["inputs"]])
        for node in json.loads(symbol.tojson())["nodes"]
    ]


def _whole(outside: Outside):
    return backbone(mx.sym.Variable("data"), outside=outside)


def backbone(data, *, outside: Outside):
    """Return a group of the feature maps, the finest first.

    Args:
        data: (B, 3, H, W).
        outside: whose function makes them.

    Raises:
        ConfigError: the function fails, returns something else, or leaves a layer without a name.
    """
    names = _Names()
    try:
        with names:
            result = outside.function(data)
    except (Exception, SystemExit) as error:  # whatever an author's code may raise
        raise ConfigError(failure(outside.network, error)) from error
    group = mx.sym.Group(_maps(result, outside.network))
    _check_names(group, names.made, outside.network)
    return group


def layer_names(outside: Outside) -> tuple[str, ...]:
    """Return the names of the feature maps, the finest first.

    Raises:
        ConfigError: as `backbone`.
    """
    return tuple(name[: -len("_output")] for name in _whole(outside).list_outputs())


def _maps(result, where: str) -> list:
    """Return what a network's function returned as a list of Symbols with one output each."""
    maps = [result] if isinstance(result, mx.sym.Symbol) else result
    if not isinstance(maps, (list, tuple)) or not maps:
        raise ConfigError(
            f"{where}: it returns {_kind(result)}, expected a Symbol or a list of Symbols, the feature maps"
        )
    for index, layer in enumerate(maps):
        if not isinstance(layer, mx.sym.Symbol):
            raise ConfigError(f"{where}: feature map {index} is {_kind(layer)}, expected a Symbol")
    parts = [layer[index] for layer in maps for index in range(len(layer.list_outputs()))]
    for part in parts:
        (output,) = part.list_outputs()
        if not output.endswith("_output"):
            raise ConfigError(
                f"{where}: feature map {output} is an input, or one of several outputs of a layer: put"
                " mx.sym.identity(..., name=...) on top of it"
            )
    return parts


def _kind(value) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _check_names(group, made: set[str], where: str) -> None:
    """Refuse a graph whose parameters or feature maps would have names that nobody gave, or that stand twice."""
    nodes = json.loads(group.tojson())["nodes"]
    layers_first = sorted(nodes, key=lambda node: node["op"] == "null")
    twice = [name for name, count in Counter(node["name"] for node in layers_first).items() if count > 1]
    if twice:
        raise ConfigError(f"{where}: two layers are called {twice[0]!r}: give each a name of its own")
    if "data" not in group.list_arguments():
        raise ConfigError(f"{where}: its feature maps do not depend on its argument, the input")
    outputs = {output[: -len("_output")] for output in group.list_outputs()}
    for node in nodes:
        inputs = [nodes[entry[0]] for entry in node["inputs"]]
        learned = any(part["op"] == "null" and part["name"].startswith(f"{node['name']}_") for part in inputs)
        if node["name"] in made and (learned or node["name"] in outputs):
            kind = "has parameters" if learned else "is a feature map"
            raise ConfigError(
                f"{where}: the {node['op']} that MXNet calls {node['name']!r} {kind} and has no name: give it name=..."
            )
