"""Small data sets of Pascal VOC's form, made on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.voc import read_voc


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return smooth random RGB pixels, (height, width, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels: np.ndarray, form: str = "JPEG", **options) -> bytes:
    """Return pixels as an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def annotation_xml(objects, size=(64, 48), filename="", extra="") -> str:
    """Return an annotation; objects are (name, xmin, ymin, xmax, ymax) or with a sixth text inside <object>."""
    parts = []
    for entry in objects:
        sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), entry[1:5]))
        more = entry[5] if len(entry) > 5 else ""
        parts.append(f"<object><name>{entry[0]}</name>{more}<bndbox>{sides}</bndbox></object>")
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>{filename}</filename>{stated}{''.join(parts)}{extra}</annotation>"


class VOCFolder:
    """A folder of VOC's form that grows image by image."""

    def __init__(self, root: Path):
        self.root = root
        self.ids: list[str] = []
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def add(
        self, image_id, objects=(), *, size=(64, 48), xml=None, image=None, extension=".jpg", stated="same"
    ):
        """Add an image: objects as in `annotation_xml`, or the whole XML; the image's bytes or a random picture."""
        stated = size if stated == "same" else stated
        text = annotation_xml(objects, stated) if xml is None else xml
        data = encode(picture(*size, seed=len(self.ids)), quality=95) if image is None else image
        (self.root / "Annotations" / f"{image_id}.xml").write_text(text, encoding="utf-8")
        (self.root / "JPEGImages" / f"{image_id}{extension}").write_bytes(data)
        self.ids.append(image_id)
        return self

    def write_set(self, name="trainval", ids=None) -> Path:
        """Write an image set and return the root."""
        lines = "".join(f"{image_id}\n" for image_id in (self.ids if ids is None else ids))
        (self.root / "ImageSets" / "Main" / f"{name}.txt").write_text(lines, encoding="utf-8")
        return self.root

    def read(self, class_names=None):
        """Read all its images."""
        return read_voc(self.write_set(), ["trainval"], class_names=class_names)

    def pack(self, target: Path, class_names=None, **options) -> dict:
        """Pack all its images, in order unless told otherwise, and return the manifest."""
        return pack(self.read(class_names), target, options=PackOptions(**{"shuffle": False, **options}))


class Tools:
    """The helpers, for tests."""

    VOCFolder = VOCFolder
    picture = staticmethod(picture)
    encode = staticmethod(encode)
    annotation_xml = staticmethod(annotation_xml)


@pytest.fixture
def tools():
    """Helpers that make images and annotations."""
    return Tools


@pytest.fixture
def voc(tmp_path):
    """An empty folder of VOC's form."""
    return VOCFolder(tmp_path / "voc")


@pytest.fixture
def packed(voc, tmp_path) -> Path:
    """Five packed records: two with two objects (one difficult), two with one, one without any; classes cat, dog."""
    voc.add("a", [("dog", 5, 5, 30, 40), ("cat", 10, 8, 64, 48, "<difficult>1</difficult>")])
    voc.add("b", [("cat", 1, 1, 20, 20)], size=(100, 50))
    voc.add("c")
    voc.add("d", [("dog", 3, 4, 50, 40), ("dog", 20, 4, 40, 30)])
    voc.add("e", [("cat", 11, 12, 21, 32)])
    voc.pack(tmp_path / "packed" / "train.lst")
    return tmp_path / "packed" / "train.rec"
