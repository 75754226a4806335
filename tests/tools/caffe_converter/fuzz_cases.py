"""Inputs for fuzz.py: thin nets of every architecture with their weights, and mutated ones made of them.

An input is a pair of files and the options of the conversion. A seed and a number decide it. Even numbers are mutations
of bytes, odd ones of well-formed messages; of those whose prototxt changed, some get weights that fit the change, so
that it goes as far as a forward pass.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from caffe_shapes import net_shapes
from fuzz_bytes import mutate_binary, mutate_text
from fuzz_messages import mutate_prototxt, mutate_weights
from fuzz_nets import NETS
from prototxts import ARCHITECTURES
from random_model import Weights, write_caffemodel, write_random_caffemodel

from common.errors import SSDError
from tools.caffe_converter.net import read_net
from tools.caffe_converter.prototxt import parse_prototxt
from tools.caffe_converter.schema import net_parameter

HALVES = ("bytes", "messages")
ROOT = Path(__file__).resolve().parents[3]
_OFTEN = {
    "layers": 10,
    "everything": 8,
    "two_outputs": 4,
    "data_layers": 6,
    "older": 4,
    "mobilenet_v2_ssdlite": 1,
}
_SIZES = (
    (300, 300),
    (64, 96),
    (33, 57),
    (1, 1),
    (512, 320),
    (1080, 1920),
    (5, 16384),
    (16384, 16384),
    (301, 299),
)
# A changed byte of a prototxt is seldom one of a number, so fewer of those reach the weights.
_TARGETS = {"bytes": (55, 40, 5), "messages": (35, 55, 10)}
_MOST_WEIGHTS = 1 << 21


@dataclass(frozen=True)
class Model:
    """A model to mutate: the bytes of its two files, and both as messages."""

    name: str
    prototxt: bytes
    caffemodel: bytes
    net: object
    weights: object


@dataclass(frozen=True)
class Case:
    """An input: which half it is of, what it was made from and how, its two files, options of the conversion."""

    half: str
    made: str
    prototxt: bytes
    caffemodel: bytes
    options: dict


def write_models(folder: Path) -> None:
    """Write the models that mutations begin from."""
    for name, architecture in ARCHITECTURES.items():
        path = folder / f"{name}.prototxt"
        path.write_text(architecture(width=0.125))
        write_random_caffemodel(path, path.with_suffix(".caffemodel"), 1)
    for name, text in NETS.items():
        path = folder / f"{name}.prototxt"
        path.write_text(text)
        write_caffemodel(path.with_suffix(".caffemodel"), _draw_weights(path, 1), name, v1=name == "older")
    data = Path(os.environ.get("SSD_SHARED_DATA") or ROOT.parent / "shared" / "data")
    for found in sorted((data / "caffe").glob("*.prototxt"))[:1]:
        for suffix in (".prototxt", ".caffemodel"):
            (folder / f"face{suffix}").write_bytes(found.with_suffix(suffix).read_bytes())


def read_models(folder: Path) -> list[Model]:
    """Read what `write_models` wrote."""
    models = []
    for path in sorted(folder.glob("*.prototxt")):
        text, weights = path.read_bytes(), path.with_suffix(".caffemodel").read_bytes()
        models.append(
            Model(
                path.stem,
                text,
                weights,
                parse_prototxt(text, path.name),
                net_parameter().FromString(weights),
            )
        )
    return models


def make_case(models: list[Model], seed: int, number: int, scratch: Path) -> Case:
    """Make the input of a number.

    Args:
        models: to mutate.
        seed: of all inputs.
        number: of this one.
        scratch: a folder for files on the way.
    """
    rng = random.Random(f"{seed}/{number}")
    model = rng.choices(models, [_OFTEN.get(model.name, 2) for model in models])[0]
    half = HALVES[number % 2]
    target = rng.choices(("caffemodel", "prototxt", "both"), _TARGETS[half])[0]
    make = _from_bytes if half == "bytes" else _from_messages
    prototxt, caffemodel, how = make(model, target, rng, scratch)
    options = {}
    if rng.random() < 0.1:
        options["data_shape"] = rng.choice(_SIZES)
    if rng.random() < 0.1:
        options |= {"truncate_sizes": False, "input_scale": rng.choice((0.017, 1e-30, 1e30))}
    return Case(half, f"{model.name}, {target}{how}", prototxt, caffemodel, options)


def _from_bytes(model: Model, target: str, rng: random.Random, scratch: Path) -> tuple[bytes, bytes, str]:
    prototxt = model.prototxt if target == "caffemodel" else mutate_text(model.prototxt, rng)
    caffemodel = model.caffemodel if target == "prototxt" else mutate_binary(model.caffemodel, rng)
    return prototxt, caffemodel, ""


def _from_messages(model: Model, target: str, rng: random.Random, scratch: Path) -> tuple[bytes, bytes, str]:
    from google.protobuf import text_format

    prototxt, caffemodel, how = model.prototxt, model.caffemodel, ""
    if target != "caffemodel":
        net = type(model.net)()
        net.CopyFrom(model.net)
        mutate_prototxt(net, rng)
        prototxt = text_format.MessageToString(net).encode("utf-8")
    if target == "prototxt" and rng.random() < 0.6:
        fitting = _fitting_weights(prototxt, rng.randrange(1 << 30), scratch)
        caffemodel, how = (fitting, ", fitting weights") if fitting else (caffemodel, "")
    if target != "prototxt":
        weights = type(model.weights)()
        weights.CopyFrom(model.weights)
        mutate_weights(weights, rng)
        caffemodel = weights.SerializeToString()
    return prototxt, caffemodel, how


def _fitting_weights(prototxt: bytes, seed: int, scratch: Path) -> bytes | None:
    """Return a caffemodel of small random numbers for a net, or None where its shapes cannot be followed."""
    path = scratch / "fit.prototxt"
    path.write_bytes(prototxt)
    try:
        weights = _draw_weights(path, seed)
    except (SSDError, ArithmeticError, LookupError, TypeError, ValueError, MemoryError):
        return None  # the net cannot be; the conversion has to say so by itself
    write_caffemodel(path.with_suffix(".caffemodel"), weights)
    return path.with_suffix(".caffemodel").read_bytes()


def _draw_weights(prototxt: Path, seed: int) -> Weights:
    """Draw small random numbers for every layer that has weights.

    Raises:
        ValueError: they would be very many, or their sizes cannot be.
    """
    draw = np.random.default_rng(seed)
    shapes = [(layer, own) for layer, own in net_shapes(read_net(prototxt))[0] if own]
    sizes = [math.prod(shape) for _, own in shapes for shape in own]
    if min(sizes, default=0) < 1 or sum(sizes) > _MOST_WEIGHTS:
        raise ValueError(f"{prototxt}: weights of sizes {sizes}")
    return [
        (layer.name, layer.type, [draw.uniform(0.01, 0.1, shape).astype(np.float32) for shape in own])
        for layer, own in shapes
    ]
