"""One annotation file of Pascal VOC's form, as it stands: names, boxes (1-based, inclusive), sizes.

The lowest step of the VOC reader (`dataset.voc`). XML is parsed by defusedxml: a file that declares entities, which
can grow without bound, is refused.

Source: VOC2007 development kit, section 6.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from common.errors import AnnotationError
from common.files import describe

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VOCObject:
    """An object of an annotation file.

    Attributes:
        index: 0-based position among the file's objects.
        name: of the class; empty where the file has none.
        box: (xmin, ymin, xmax, ymax) in pixels as stated, 1-based and inclusive; None where it cannot be read.
        difficult: False where the file does not say.
        fault: what cannot be read; empty where all can.
    """

    index: int
    name: str
    box: tuple[float, float, float, float] | None
    difficult: bool
    fault: str


@dataclass(frozen=True)
class VOCAnnotation:
    """An annotation file.

    Attributes:
        filename: of the image, as stated; empty where the file does not say.
        size: (width, height) in pixels as stated; None where missing or not positive.
        objects: in the file's order.
    """

    filename: str
    size: tuple[int, int] | None
    objects: tuple[VOCObject, ...]


def read_voc_xml(path: str | os.PathLike) -> VOCAnnotation:
    """Read an annotation file.

    Args:
        path: the XML file.

    Returns:
        What it states; an object that cannot be read is there with its `fault`.

    Raises:
        AnnotationError: the file is missing, not XML, declares entities, or is not an annotation.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: annotation cannot be read ({error.strerror or error})") from error
    return parse_voc_xml(data, str(path))


def parse_voc_xml(data: bytes, name: str) -> VOCAnnotation:
    """Parse the bytes of an annotation file (see `read_voc_xml`).

    Args:
        data: the file's bytes.
        name: of the file, for messages.

    Raises:
        AnnotationError: as `read_voc_xml` says.
    """
    root = _parse(data, name)
    if root.tag != "annotation":
        raise AnnotationError(f"{name}: the root element is <{root.tag}>, expected <annotation>")
    objects = tuple(_read_object(element, index) for index, element in enumerate(root.findall("object")))
    return VOCAnnotation(_text(root, "filename"), _read_size(root), objects)


def _parse(data: bytes, name: str) -> Element:
    """Parse XML without entities, or raise an AnnotationError with file and line."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(data)
    except ParseError as error:
        raise AnnotationError(
            f"{name}, line {error.position[0]}: not XML ({error}); the file is {describe(data)}"
        ) from error
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{name}: refused, it declares XML entities ({type(error).__name__})"
        ) from error
    except (ValueError, LookupError) as error:
        raise AnnotationError(f"{name}: not XML that can be read ({error})") from error


def _text(element: Element, path: str) -> str:
    """Return the stripped text of a child, or an empty text."""
    return (element.findtext(path) or "").strip()


def _number(text: str) -> float | None:
    """Return a text as a number (NaN and infinity included), or None."""
    try:
        return float(text)
    except ValueError:
        return None


def _read_size(root: Element) -> tuple[int, int] | None:
    """Return the image size that an annotation states, or None where it is missing or cannot be one."""
    sides = [_number(_text(root, f"size/{side}")) for side in ("width", "height")]
    if any(side is None or not math.isfinite(side) or side < 1 for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _read_object(element: Element, index: int) -> VOCObject:
    """Read one <object>; what cannot be read becomes its fault."""
    name = _text(element, "name")
    stated = {side: _text(element, f"bndbox/{side}") for side in _SIDES}
    numbers = {side: _number(text) for side, text in stated.items()}
    faults = [f"{side}={stated[side]!r}" for side in _SIDES if numbers[side] is None]
    box = None if faults else tuple(numbers[side] for side in _SIDES)
    if not name:
        faults.insert(0, "no <name>")
    return VOCObject(index, name, box, _is_set(_text(element, "difficult")), ", ".join(faults))


def _is_set(text: str) -> bool:
    """Read a flag: any number but 0, "true" and "yes" set it; a missing one or any other text does not."""
    number = _number(text)
    return text.lower() in ("true", "yes") if number is None else number != 0 and not math.isnan(number)
