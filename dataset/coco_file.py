"""A file of annotations in COCO's form, parsed and held to being one.

The first step of the reader (`dataset.coco`). Outlines and key points are dropped while parsing, since they are nine
tenths of the memory and no detector of boxes wants them. Annotations are judged later (`dataset.coco_objects`).

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import gc
import json
import reprlib
from dataclasses import dataclass
from pathlib import Path

from common.errors import AnnotationError
from common.files import describe

_BULK = ("segmentation", "keypoints", "flickr_url", "date_captured")
_LARGEST_SIDE = 1 << 20  # pixels; what an image file may state at all


@dataclass(frozen=True)
class COCOImage:
    """An image as a file of COCO's form states it.

    Attributes:
        image_id: a number, as COCO has it, or a text; None where there is none.
        file_name: maybe with folders in front; empty where there is none.
        url: where COCO keeps it, which names its folder; empty where unknown.
        size: (width, height) in pixels as stated; None where it is not.
        source: the file and the image in it, for messages.
        fault: what is wrong with it, so that it cannot be used; empty where nothing is.
    """

    image_id: int | str | None
    file_name: str
    url: str
    size: tuple[int, int] | None
    source: str
    fault: str


@dataclass(frozen=True)
class COCOFile:
    """A parsed file of COCO's form.

    Attributes:
        path: of the file.
        images: in the file's order.
        annotations: as they stand in it, not yet checked; empty where there are none.
        has_annotations: False for the lists of test images (image_info_*.json).
        categories: the data set's own number -> name, by number.
    """

    path: Path
    images: list[COCOImage]
    annotations: list
    has_annotations: bool
    categories: dict[int, str]


def read_coco_file(path: Path) -> COCOFile:
    """Parse a file of COCO's form.

    Args:
        path: of a JSON file with images, annotations and categories; without annotations, images are enough.

    Raises:
        AnnotationError: it cannot be read, is something else, or its categories are damaged.
    """
    data = _load(path)
    other = _what_else(data)
    if other:
        raise AnnotationError(
            f"{path}: not COCO instances: it is {other}; expected JSON with the lists images, annotations (with"
            " bbox and category_id) and categories, as in instances_val2017.json"
        )
    annotations = data.get("annotations")
    if annotations and not data.get("categories"):
        raise AnnotationError(
            f"{path}: annotations, but no categories: add the list categories, [{{id, name}}, ...]"
        )
    return COCOFile(
        path=path,
        images=[_image(entry, position, path) for position, entry in enumerate(data["images"])],
        annotations=annotations or [],
        has_annotations=annotations is not None,
        categories=_categories(data.get("categories") or [], path),
    )


def whole_number(value: object) -> int | None:
    """Return a number of JSON as int where it is whole, None for everything else; True is no number."""
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None


def key_of(value: object) -> int | str | None:
    """Return an image's id, a whole number or a text; None for everything else."""
    return value if is_text(value) else whole_number(value)


def is_text(value: object) -> bool:
    """Tell whether a value is text, not empty, that can be written as UTF-8; JSON also knows halves of characters."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """Return a value of JSON for a message, cut short."""
    return reprlib.repr(value)


def _without_bulk(entry: dict) -> dict:
    """Drop what takes memory and is not used; called for each object of the file while it is parsed."""
    for key in _BULK:
        entry.pop(key, None)
    return entry


def _load(path: Path) -> object:
    """Return the JSON in a file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: annotations cannot be read ({error.strerror or error})") from error
    beginning, collecting = data[:512], gc.isenabled()
    gc.disable()  # millions of new lists and no cycles: the collector would only look at them over and over
    try:
        text = data.decode("utf-8-sig")
        del data  # 450 MB for train2017
        return json.loads(text, object_hook=_without_bulk)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: not COCO instances: not JSON, it is {describe(beginning)} ({error})"
        ) from error
    finally:
        if collecting:
            gc.enable()


def _what_else(data: object) -> str:
    """Return what parsed JSON is if it is not of COCO's form, for the message; empty where it is."""
    if isinstance(data, list):
        entry = data[0] if data else None
        is_result = isinstance(entry, dict) and "score" in entry
        return "a list of results (detections with scores)" if is_result else "a list"
    if not isinstance(data, dict):
        return f"a single {type(data).__name__}"
    if not isinstance(data.get("images"), list):
        return _other_tool(data)
    for name in ("annotations", "categories"):
        if data.get(name) is not None and not isinstance(data[name], list):
            return f"JSON whose {name} is a {type(data[name]).__name__} and not a list"
    entry = next(iter(data.get("annotations") or ()), None)
    if isinstance(entry, dict) and "bbox" not in entry:
        for key, kind in (("caption", "captions"), ("segments_info", "panoptic segments")):
            if key in entry:
                return f"COCO's {kind}"
    return ""


def _other_tool(data: dict) -> str:
    """Return whose a JSON object without a list of images is."""
    signs = {
        "shapes": "an annotation of labelme, for a single image",
        "_via_img_metadata": "a project of the VGG Image Annotator: export it as COCO",
        "class_names": "a manifest or card of this program",
    }
    for key, kind in signs.items():
        if key in data:
            return kind
    return f"JSON without a list of images; its keys are {shown(sorted(data))}"


def _image(entry: object, position: int, path: Path) -> COCOImage:
    """Return an image of the list; LVIS states no file name, only the address that ends in it."""
    fields = entry if isinstance(entry, dict) else {}
    image_id = key_of(fields.get("id"))
    url = fields.get("coco_url") if is_text(fields.get("coco_url")) else ""
    file_name = fields.get("file_name", url.rpartition("/")[2])
    fault = ""
    if fields is not entry:
        fault = f"the image is {shown(entry)}"
    elif image_id is None:
        fault = f"id {shown(fields.get('id'))}"
    elif not is_text(file_name):
        fault = f"file_name {shown(file_name)}"
    return COCOImage(
        image_id=image_id,
        file_name="" if fault else file_name,
        url=url,
        size=_size(fields.get("width"), fields.get("height")),
        source=f"{path}: image {position if image_id is None else image_id}",
        fault=fault,
    )


def _size(width: object, height: object) -> tuple[int, int] | None:
    """Return an image's stated size; None where it is no size, since the image itself decides."""
    sides = (whole_number(width), whole_number(height))
    return sides if all(side is not None and 0 < side <= _LARGEST_SIDE for side in sides) else None


def _categories(entries: list, path: Path) -> dict[int, str]:
    """Return number -> name, by number."""
    categories: dict[int, str] = {}
    for position, entry in enumerate(entries):
        number = whole_number(entry.get("id")) if isinstance(entry, dict) else None
        if number is None or not is_text(entry.get("name")):
            raise AnnotationError(
                f"{path}: category {position} of the list is {shown(entry)}, expected a whole number as id and a name"
            )
        if categories.setdefault(number, entry["name"]) != entry["name"]:
            raise AnnotationError(
                f"{path}: category id {number} is both {categories[number]!r} and {entry['name']!r}:"
                " give one of them another id"
            )
    return dict(sorted(categories.items()))
