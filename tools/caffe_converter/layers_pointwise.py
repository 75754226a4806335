"""Layers that look at one number at a time, or at the same place of several blobs: activations, Power, Eltwise.

Source: Caffe's `*_layer.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.prototxt import shown
from tools.caffe_converter.values import Graph, Logits, Priors, Value, check_count, like, plain, tensor

_PROD, _SUM, _MAX = 0, 1, 2


def _pointwise(make: Callable[[Graph, Layer, object], object]) -> Callable:
    """Return the translator of a layer that changes each number on its own, in whatever order channels stand."""

    def translate(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
        check_count(layer, len(bottoms), 1, 1)
        value = tensor(layer, bottoms[0])
        return [like(value, make(graph, layer, value.symbol))]

    return translate


def _relu(graph: Graph, layer: Layer, symbol):
    slope, name = layer.message.relu_param.negative_slope, graph.name(layer.name)
    if slope:
        return mx.sym.LeakyReLU(symbol, act_type="leaky", slope=slope, name=name)
    return mx.sym.Activation(symbol, act_type="relu", name=name)


def _relu6(graph: Graph, layer: Layer, symbol):
    return mx.sym.clip(symbol, a_min=0, a_max=6, name=graph.name(layer.name))


def _elu(graph: Graph, layer: Layer, symbol):
    return mx.sym.LeakyReLU(
        symbol, act_type="elu", slope=layer.message.elu_param.alpha, name=graph.name(layer.name)
    )


def _tanh(graph: Graph, layer: Layer, symbol):
    return mx.sym.Activation(symbol, act_type="tanh", name=graph.name(layer.name))


def _softplus(graph: Graph, layer: Layer, symbol):
    return mx.sym.Activation(symbol, act_type="softrelu", name=graph.name(layer.name))


def _absolute(graph: Graph, layer: Layer, symbol):
    return mx.sym.abs(symbol, name=graph.name(layer.name))


def _base(layer: Layer, base: float) -> float:
    """Return the logarithm of a base; -1 stands for e.

    Raises:
        ConversionError: it is no base.
    """
    if base != -1 and not 0 < base < math.inf:
        raise ConversionError(f"{layer.where}: base {base:g}: expected a number above 0, or -1 for e")
    return 1.0 if base == -1 else math.log(base)


def _exp(graph: Graph, layer: Layer, symbol):
    p = layer.message.exp_param  # base ** (shift + scale * x)
    log_base = _base(layer, p.base)
    return mx.sym.exp(symbol * (p.scale * log_base) + p.shift * log_base, name=graph.name(layer.name))


def _log(graph: Graph, layer: Layer, symbol):
    p = layer.message.log_param  # log of (shift + scale * x) in that base
    log_base = _base(layer, p.base)
    if not log_base:
        raise ConversionError(f"{layer.where}: base 1 has no logarithm")
    return mx.sym.log(symbol * p.scale + p.shift, name=graph.name(layer.name)) * (1 / log_base)


def _power(graph: Graph, layer: Layer, symbol):
    p = layer.message.power_param  # (shift + scale * x) ** power
    if p.scale != 1:
        symbol = symbol * p.scale
    if p.shift:
        symbol = symbol + p.shift
    if p.power != 1:
        symbol = symbol**p.power
    return symbol


def sigmoid(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Sigmoid; what went into it is remembered, for DetectionOutput."""
    check_count(layer, len(bottoms), 1, 1)
    value = tensor(layer, bottoms[0])
    symbol = mx.sym.sigmoid(value.symbol, name=graph.name(layer.name))
    return [like(value, symbol, logits=Logits(value.symbol, "sigmoid", 0))]


def identity(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value | Priors]:
    """Split, and Dropout, which does nothing in the TEST phase."""
    check_count(layer, len(bottoms), 1, 1)
    return [bottoms[0]] * len(layer.tops)


def eltwise(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Eltwise: sum with coefficients, product, maximum."""
    check_count(layer, len(bottoms), 2, 10**6)
    p, values = layer.message.eltwise_param, [plain(layer, value) for value in bottoms]
    if len({value.shape for value in values}) > 1:
        shapes = shown(", ".join(str(value.shape) for value in values))
        raise ConversionError(f"{layer.where}: its bottoms have the shapes {shapes}, expected equal ones")
    coefficients = list(p.coeff)
    if coefficients and (p.operation != _SUM or len(coefficients) != len(values)):
        raise ConversionError(
            f"{layer.where}: {len(coefficients)} coeff for {len(values)} bottoms: expected one each, and SUM"
        )
    terms = [value.symbol for value in values]
    terms = [term if c == 1 else term * c for term, c in zip(terms, coefficients or [1] * len(terms))]
    join = {_PROD: mx.sym.elemwise_mul, _SUM: mx.sym.elemwise_add, _MAX: mx.sym.broadcast_maximum}.get(
        p.operation
    )
    if join is None:
        raise ConversionError(f"{layer.where}: operation {p.operation}: expected PROD, SUM or MAX")
    result = terms[0]
    for term in terms[1:-1]:
        result = join(result, term)
    return [like(values[0], join(result, terms[-1], name=graph.name(layer.name)))]


TRANSLATORS = {
    "ReLU": _pointwise(_relu),
    "ReLU6": _pointwise(_relu6),
    "ELU": _pointwise(_elu),
    "TanH": _pointwise(_tanh),
    "BNLL": _pointwise(_softplus),
    "AbsVal": _pointwise(_absolute),
    "Exp": _pointwise(_exp),
    "Log": _pointwise(_log),
    "Power": _pointwise(_power),
    "Sigmoid": sigmoid,
    "Split": identity,
    "Dropout": identity,
    "Eltwise": eltwise,
}
