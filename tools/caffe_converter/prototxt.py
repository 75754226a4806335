"""Text files of Caffe (prototxt, labelmap.prototxt): text to message, strictly, with the place of whatever is wrong.

The first step of the converter. Text is parsed by protobuf's own parser and never evaluated. Unknown fields are errors:
a net that relies on a field which is passed over would convert into something else without a word.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator

import numpy as np

from common.errors import ConversionError, did_you_mean
from common.files import describe
from tools.caffe_converter.schema import net_parameter

MAX_BYTES = 1 << 20  # the longest nets in use have 0.3 MB; the parser takes one to two seconds for this
MAX_WORDS = 150_000  # those have some 40,000; a list of short numbers takes the parser longest
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r")
_WORD = re.compile(r"[\w.+-]+")
_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\n|[A-Za-z_]\w*|[{}<>]""")


def read_prototxt(path: str | os.PathLike):
    """Read the description of a net.

    Args:
        path: the prototxt.

    Returns:
        The NetParameter as the file states it: all phases, `layers` of the older form untouched.

    Raises:
        ConversionError: the file cannot be read, is no prototxt, has an unknown field or a value that cannot be, or
            describes no layer; with line and column.
    """
    return parse_prototxt(read_bytes(path, "prototxt"), str(path))


def parse_prototxt(data: bytes, name: str):
    """Parse the bytes of a prototxt (see `read_prototxt`).

    Args:
        data: the file's bytes.
        name: of the file, for messages.
    """
    message = parse_text(data, name, net_parameter(), "prototxt")
    if not message.layer and not message.layers:
        raise ConversionError(f"{shown(name)}: no layer in it: give the deploy.prototxt of the net")
    if message.layer and message.layers:
        raise ConversionError(
            f"{shown(name)}: has both `layer` and `layers`, two generations of the format: write all as `layer`"
        )
    return message


def read_bytes(path: str | os.PathLike, what: str) -> bytes:
    """Read a text file of Caffe's whole, unless it is too long for one.

    Raises:
        ConversionError: it cannot be read, or is longer than `MAX_BYTES`.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConversionError(f"{shown(path)}: {what} cannot be read ({reason})") from error
    if len(data) > MAX_BYTES:
        hint = ": was the caffemodel given in its place?" if b"\0" in data else ""
        raise ConversionError(
            f"{shown(path)}: longer than {MAX_BYTES >> 20} MB, not a {what}: it is {describe(data)}{hint}"
        )
    return data


def parse_text(data: bytes, name: str, message_class: type, what: str):
    """Parse a text file of Caffe's.

    Args:
        data: the file's bytes, UTF-8.
        name: of the file, for messages.
        message_class: what to make of it.
        what: what it should be, for messages ("prototxt", "label map").

    Raises:
        ConversionError: see `read_prototxt`.
    """
    from google.protobuf import text_format

    text = _decode(data, name, what)
    words = sum(1 for _ in _WORD.finditer(text))
    if words > MAX_WORDS:
        raise ConversionError(
            f"{shown(name)}: {words} words and numbers, expected at most {MAX_WORDS} in a {what}"
        )
    message = message_class()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConversionError(_explain(error, text, name, message_class, what)) from error
    except (ValueError, RecursionError, TypeError) as error:
        raise ConversionError(f"{shown(name)}: not a {what} ({one_line(error)})") from error
    for place, value in _not_finite(message, ""):
        raise ConversionError(f"{shown(name)}: {place} is {value}, expected a finite number")
    return message


def layer_lines(text: str, field: str) -> list[int]:
    """Find the lines on which the layers of a net begin; the parser does not tell them.

    Args:
        text: a prototxt that the parser has taken.
        field: "layer" or "layers".

    Returns:
        1-based line of each `layer {`, in the file's order.
    """
    lines, line, depth, current, key_line = [], 1, 0, "", None
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token in "{<":
            if (
                depth == 0 and current == field
            ):  # `layer: [{...}, {...}]`: the keyword's line, then each brace's own
                lines.append(key_line or line)
                key_line = None
            depth += 1
        elif token in "}>":
            depth -= 1
        elif depth == 0 and token[0] not in "#\"'":
            current, key_line = token, line
    return lines


def shortest(value: float) -> float:
    """Return the shortest decimal of a float32 field's number, 0.15 and not 0.15000000596046448; the same float32."""
    return float(str(np.float32(value)))


def shown(text: object) -> str:
    """Return a name from a foreign file as it may stand in a message: one line, not endless."""
    text = str(text)
    short = text if len(text) <= 200 else text[:197] + "..."
    return short if short.isprintable() else repr(short)[1:-1]


def closest(name: str, known: Iterable[str]) -> str:
    """Return `did_you_mean` for names of a foreign file: comparing long names, or very many, would take minutes."""
    return did_you_mean(shown(name)[:60], [shown(each)[:60] for each in itertools.islice(known, 1000)])


def one_line(error: object) -> str:
    """Return a library's message as one line of bounded length."""
    return shown(" ".join(str(error).split()))


def _decode(data: bytes, name: str, what: str) -> str:
    """Return a file's text; refuse what is none, or none of Caffe's."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data.strip() or start[:1] in (b"<", b"{", b"[") or start.startswith(b"version https://git-lfs"):
        kind = "JSON" if start[:1] in (b"{", b"[") else describe(data if data.strip() else b"")
        raise ConversionError(f"{shown(name)}: not a {what}: it is {kind}")
    if data.translate(None, _CONTROL) != data and not data.startswith(
        (b"\xff\xfe", b"\xfe\xff")
    ):  # UTF-16 has zeros
        raise ConversionError(
            f"{shown(name)}: not a {what}: it is binary (was the caffemodel given in its place?)"
        )
    try:
        return data.decode("utf-8-sig")  # Windows editors put a mark (BOM) first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConversionError(
            f"{shown(name)}:{line}: not a {what} in UTF-8: the file is {describe(data)}: save it as UTF-8"
        ) from error


def _explain(error, text: str, name: str, message_class: type, what: str) -> str:
    """Return one line for what the parser found: place, what, and the closest known field."""
    line, column = error.GetLine(), error.GetColumn()
    problem = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error).replace("\n", " "), flags=re.DOTALL)
    unknown = re.search(r'Message type "caffe\.([\w.]+)" has no field named "([^"]*)"', problem)
    if unknown:
        kind, field = unknown.groups()
        if (kind, field) == ("V1LayerParameter", "layer"):
            problem = "a net of the format before 2014 (V0): upgrade it by Caffe's upgrade_net_proto_text"
        else:
            known = _message_fields(message_class.DESCRIPTOR, kind)
            problem = f"unknown field {shown(field)!r} in {kind}{did_you_mean(field, known)}"
    lines = text.split("\n")
    source = lines[line - 1].strip() if line and line <= len(lines) else ""
    place = f":{line}:{column}" if line else ""
    return f"{shown(name)}{place}: not a {what} that can be read: {one_line(problem)}; the line is {source[:80]!r}"


def _message_fields(descriptor, name: str) -> list[str]:
    """Return the names of the fields of a message, found by its name in the schema of another."""
    found = descriptor.file.message_types_by_name.get(name.split(".")[0])
    return [field.name for field in found.fields] if found else []


def _not_finite(message, place: str) -> Iterator[tuple[str, float]]:
    """Give the place and the value of every number in a message that is NaN or infinite."""
    for field, value in message.ListFields():
        here = f"{place}{field.name}"
        values = value if field.label == field.LABEL_REPEATED else [value]
        if field.message_type is not None:
            for index, part in enumerate(values):
                label = f" {shown(part.name)!r}" if field.name in ("layer", "layers") else ""
                yield from _not_finite(part, f"{here}{label or (f'[{index}]' if index else '')}.")
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            yield from ((here, number) for number in values if not math.isfinite(number))
