"""Small data sets of Pascal VOC's and of COCO's form, made on the spot."""

from __future__ import annotations

import copy
import io
import json
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


CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 90, "name": "brush"}, {"id": 1, "name": "person"}]


class COCOFolder:
    """A folder of COCO's form."""

    def __init__(self, root: Path):
        self.root = root

    @staticmethod
    def image(number, file_name=None, **more) -> dict:
        """Return an entry of the list images, of 64x48 pixels."""
        name = f"{number}.jpg" if file_name is None else file_name
        return {"id": number, "file_name": name, "width": 64, "height": 48, **more}

    @staticmethod
    def box(number, image_id=7, category_id=18, bbox=(4, 5, 20.5, 10.25), **more) -> dict:
        """Return an annotation."""
        bbox = list(bbox) if type(bbox) is tuple else bbox
        entry = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox}
        return {**entry, "area": 150.5, "iscrowd": 0, **more}

    @staticmethod
    def instances(images, annotations, categories=CATEGORIES) -> dict:
        """Return instances JSON."""
        lists = {"images": images, "annotations": annotations, "categories": categories}
        return copy.deepcopy({"info": {}, **lists})

    def write(self, data, name="annotations/instances_val2017.json", pictures="val2017") -> Path:
        """Write JSON (or what else is given), and a picture for each of its images; return the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        names = [entry["file_name"] for entry in data["images"]] if pictures is not None else ()
        for seed, file_name in enumerate(names):
            self.picture(f"{pictures}/{file_name.rpartition('/')[2]}", seed)
        return self.root

    def picture(self, name, seed=0) -> Path:
        """Write a picture of 64x48 pixels."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(picture(64, 48, seed)))
        return path


@pytest.fixture
def coco(tmp_path):
    """An empty folder of COCO's form."""
    return COCOFolder(tmp_path / "coco")
