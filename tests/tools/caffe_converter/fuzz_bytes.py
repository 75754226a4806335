"""Mutations of bytes, for fuzz.py: small ones, so that most of a file stays what it was."""

from __future__ import annotations

import random
import re

from tools.caffe_converter.wire import BYTES, Walker, WireError

HUGE_VARINTS = (
    b"\xff\xff\xff\xff\x0f",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 9 + b"\x01",
    b"\xff" * 12,
    b"\x80\x80\x04",
)
_NUMBERS = (b"0", b"-1", b"1", b"7", b"65536", b"2147483647", b"4294967296", b"1e38", b"nan", b"0.5", b"-0.0")
_KEEP_LENGTH = ("flip", "flip", "splice", "overwrite")
_EVERY_KIND = (*_KEEP_LENGTH, "cut", "insert", "repeat", "put")
_MOST_PLACES = 5000


def mutate_binary(data: bytes, rng: random.Random) -> bytes:
    """Change a caffemodel at one or two places, as often among tags, lengths and names as among values."""
    places = _heads(data)
    for _ in range(rng.choice((1, 1, 1, 2))):
        near = rng.random() < 0.5
        at = rng.choice(places) + rng.randrange(6) if near else rng.randrange(max(1, len(data)))
        kinds = _EVERY_KIND if rng.random() < 0.4 else _KEEP_LENGTH
        data = _mutate(data, min(at, max(0, len(data) - 1)), rng, HUGE_VARINTS, rng.choice(kinds))
    return data


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Change a prototxt at one or two places: numbers more often than the rest, since those stay readable."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        numbers = [match.span() for match in re.finditer(rb"-?\d[\d.e]*", data)]
        chosen = rng.random()
        if numbers and chosen < 0.7:
            start, end = rng.choice(numbers)
            data = data[:start] + _number(data[start:end], rng) + data[end:]
        elif chosen < 0.85:
            data = _mutate_lines(data, rng)
        else:
            data = _mutate(data, rng.randrange(max(1, len(data))), rng, _NUMBERS, rng.choice(_EVERY_KIND))
    return data


def _number(text: bytes, rng: random.Random) -> bytes:
    """Return another number: a digit changed, put in or taken out, or a whole other one."""
    if rng.random() < 0.3:
        return rng.choice(_NUMBERS)
    at, digit = rng.randrange(len(text)), b"%d" % rng.randrange(10)
    return text[:at] + rng.choice((digit, digit, digit + text[at : at + 1], b"")) + text[at + 1 :]


def _mutate_lines(data: bytes, rng: random.Random) -> bytes:
    """Drop, repeat or swap whole lines."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at:at] = lines[at : at + rng.choice((1, 1, 5))]
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines)


def _mutate(data: bytes, at: int, rng: random.Random, tokens: tuple[bytes, ...], kind: str) -> bytes:
    """Change bytes at one place."""
    size, token = rng.choice((1, 1, 2, 4, 8, 64)), rng.choice(tokens)
    other = rng.randrange(max(1, len(data)))
    cut = len(data) if rng.random() < 0.2 else size
    put, drop = {
        "flip": (bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1]), 1),
        "cut": (b"", cut),
        "insert": (rng.randbytes(size), 0),
        "splice": (data[other : other + size], size),
        "repeat": (data[at : at + size] * rng.choice((2, 3, 50)), size),
        "overwrite": (token, len(token)),
        "put": (token, 0),
    }[kind]
    return data[:at] + put + data[at + drop :]


def _heads(data: bytes) -> list[int]:
    """Return where fields of the net, its layers and their blobs begin."""
    walker, places = Walker(data, _MOST_PLACES), [0]

    def walk(start: int, end: int, depth: int) -> None:
        for field in walker.fields(start, end):
            places.append(field.tag)
            if depth and field.kind == BYTES and field.end - field.start > 8:
                walk(field.start, field.end, depth - 1)

    try:
        walk(0, len(data), 2)
    except WireError:  # a name was taken for a message, or there are more places than are wanted
        pass
    return places
