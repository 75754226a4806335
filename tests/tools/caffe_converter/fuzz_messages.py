"""Mutations of well-formed messages, for fuzz.py: any field of a prototxt or caffemodel, by the schema."""

from __future__ import annotations

import random
import struct

_INTEGERS = (0, 1, -1, 2, 3, 5, 16, 255, 65535, 65536, 2**24, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, -(2**63))
_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-30,
    1e-7,
    1e9,
    1e38,
    -1e38,
    float("nan"),
    float("inf"),
    -float("inf"),
)
_TEXTS = (
    "",
    "data",
    "x",
    "a\nb",
    "a\tb",
    'q"',
    "back\\slash",
    "Größe",
    "\u2028",
    "\x01",
    "nul\0",
    "n" * 400,
    "fwd",
    "[0]",
)


def mutate_prototxt(net, rng: random.Random) -> None:
    """Change one or two things of a net in place."""
    for _ in range(rng.choice((1, 1, 2))):
        layers = net.layer if len(net.layer) else net.layers
        chosen = rng.random()
        if chosen < 0.1 or not layers:
            _mutate_message(net, rng, _words(net), skip=("layer", "layers"))
        elif chosen < 0.25:
            _mutate_order(layers, rng)
        else:
            _mutate_inside(rng.choice(layers), rng, _words(net))


def mutate_weights(net, rng: random.Random) -> None:
    """Change one or two blobs, names or layers of a caffemodel in place."""
    layers = net.layer if len(net.layer) else net.layers
    for _ in range(rng.choice((1, 1, 2))):
        layer, chosen = rng.choice(layers), rng.random()
        if chosen < 0.1:
            _mutate_order(layers, rng)
        elif chosen < 0.25 or not layer.blobs:
            _mutate_message(layer, rng, _words(net), skip=("blobs",) * (rng.random() < 0.5))
        else:
            _mutate_blob(rng.choice(layer.blobs), rng)


def _words(net) -> list[str]:
    """Return names of layers, types and blobs: what a changed text is drawn from, beside odd ones."""
    layers = [*net.layer, *net.layers]
    words = [word for layer in layers for word in (layer.name, *layer.bottom, *layer.top)]
    words += [layer.type for layer in net.layer]
    return words or ["data"]


def _mutate_order(layers, rng: random.Random) -> None:
    """Drop, repeat or swap layers."""
    if not layers:
        return
    kind, at, other = rng.randrange(3), rng.randrange(len(layers)), rng.randrange(len(layers))
    if kind == 0:
        del layers[at]
    elif kind == 1:
        layers.add().CopyFrom(layers[at])
    else:
        copy = type(layers[at])()
        copy.CopyFrom(layers[at])
        layers[at].CopyFrom(layers[other])
        layers[other].CopyFrom(copy)


def _mutate_inside(message, rng: random.Random, words: list[str]) -> None:
    """Change a field of a message or of one that lies in it, each as likely."""
    inside = [message]
    for part in inside:
        for field, value in part.ListFields():
            if field.message_type is not None:
                inside.extend(value if field.label == field.LABEL_REPEATED else [value])
    _mutate_message(rng.choice(inside if rng.random() < 0.3 else inside[1:] or inside), rng, words)


def _mutate_message(message, rng: random.Random, words: list[str], skip=()) -> None:
    """Change a field of a message: mostly one that is set."""
    there = [field for field, _ in message.ListFields() if field.name not in skip]
    every = [field for field in message.DESCRIPTOR.fields if field.name not in skip]
    field = rng.choice(there) if there and rng.random() < 0.7 else rng.choice(every)
    if field.label == field.LABEL_REPEATED:
        _mutate_repeated(getattr(message, field.name), field, rng, words)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        _mutate_message(part, rng, words)
    else:
        setattr(message, field.name, other_value(field, getattr(message, field.name), rng, words))


def _mutate_repeated(values, field, rng: random.Random, words: list[str]) -> None:
    """Drop, repeat, add or change entries of a repeated field."""
    kind = rng.randrange(4) if len(values) else 2
    at = rng.randrange(len(values)) if len(values) else 0
    if kind == 0:
        del values[at]
    elif field.message_type is not None:
        part = values[at] if kind == 1 and len(values) else values.add()
        _mutate_message(part, rng, words)
    elif kind == 1:
        values.extend([values[at]] * rng.choice((1, 1, 3, 30)))
    elif kind == 2:
        values.append(other_value(field, field.default_value or _zero(field), rng, words))
    else:
        values[at] = other_value(field, values[at], rng, words)


def _zero(field):
    """Return the empty value of a scalar field."""
    if field.cpp_type == field.CPPTYPE_STRING:
        return b"" if field.type == field.TYPE_BYTES else ""
    return 0


def other_value(field, value, rng: random.Random, words: list[str]):
    """Return another value for a scalar field."""
    if field.cpp_type == field.CPPTYPE_BOOL:
        return not value
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice([entry.number for entry in field.enum_type.values])
    if field.type == field.TYPE_BYTES:
        return _bytes(value, rng)
    if field.cpp_type == field.CPPTYPE_STRING:
        return rng.choice(words) if rng.random() < 0.6 else rng.choice(_TEXTS)
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice((value * 2, value / 3, -value, value + 1, *rng.sample(_FLOATS, 4)))
    near = (value + 1, value - 1, value * 2, value // 2, value + 7)
    return _in_range(field, rng.choice(near if rng.random() < 0.5 else _INTEGERS))


def _in_range(field, value: int) -> int:
    """Return the nearest number that a field of whole numbers can hold."""
    bits = 64 if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
    if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        return min(max(value, 0), 2**bits - 1)
    return min(max(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def _mutate_blob(blob, rng: random.Random) -> None:
    """Change a blob's shape, its values, or any other field."""
    kind = rng.randrange(4)
    if kind == 0 and len(blob.shape.dim):
        _mutate_shape(blob.shape.dim, rng)
    elif kind <= 2 and len(blob.data):
        at = rng.randrange(len(blob.data))
        blob.data[at] = _bytes(blob.data[at], rng)
    else:
        _mutate_message(blob, rng, ["data"])


def _mutate_shape(dims, rng: random.Random) -> None:
    """Change one size, or swap, join, drop or add sizes."""
    kind, at = rng.randrange(4), rng.randrange(len(dims))
    if kind == 0:
        dims[at] = rng.choice((*_INTEGERS[:-4], dims[at] + 1, dims[at] * 2, 2**62))
    elif kind == 1:
        dims[at], dims[0] = dims[0], dims[at]
    elif kind == 2:
        dims.insert(rng.randrange(len(dims)), 1)
    else:
        del dims[at]


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Return other values of four bytes: one of them odd, all of them scaled down to nothing, or more or fewer."""
    kind, at = rng.randrange(6), rng.randrange(max(1, len(data) // 4)) * 4
    if kind <= 3:
        return data[:at] + struct.pack("<f", rng.choice(_FLOATS)) + data[at + 4 :]
    if kind == 4:
        return bytes(len(data))
    return data[: -rng.choice((1, 4))] if rng.random() < 0.5 else data + bytes(rng.choice((1, 4)))
