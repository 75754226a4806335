"""gluoncv's and MXNet's own published weights, read from the tables in the installed packages.

Both keep a table of names and sha1 in a file of Python (`model_store.py`). It is read as text, for to import gluoncv
takes seconds, changes Pillow for the whole process, and a list of names needs neither it nor MXNet. The sha1 is that of
the .params file inside the archive.

Of gluoncv's entries those are here that detect by SSD, or classify ImageNet's images. Where MXNet's own zoo has other
weights under the same name, they are called mxnet:NAME.

Source: gluoncv/model_zoo/model_store.py, mxnet/gluon/model_zoo/model_store.py; average precisions:
docs/model_zoo/csv_tables/Detections of github.com/dmlc/gluon-cv.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from common.checksum import Checksum
from common.errors import DependencyError
from model.zoo_classes import COCO, VOC
from model.zoo_entry import BACKBONE, DETECTOR, ZooEntry

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's
_DETECTOR = re.compile(r"ssd_(\d+)_.+_(voc|coco)")
_CLASSIFIER = re.compile(
    r"alexnet|darknet53|densenet\d+|dla34|googlenet|hrnet_\w+_cls|inceptionv3|mobilenet[\d.]+|mobilenetv\d_[\w.]+"
    r"|resnest\d+|resnet\d+_v\d[a-z]?(_gn|_[\d.]+x)?|(se_)?resnext\d+_\d+x\d+d|senet_\d+|squeezenet[\d.]+"
    r"|vgg\d+(_bn)?|xception"
)
_SIDES = {"inceptionv3": 299, "xception": 299, "resnest101": 256, "resnest200": 320, "resnest269": 416}
_VOC_METRIC, _COCO_METRIC = "mAP, IoU 0.5, VOC07 test", "AP, IoU 0.5:0.95, COCO val2017"
_SCORES = {
    "ssd_300_vgg16_atrous_voc": 77.6,
    "ssd_512_vgg16_atrous_voc": 79.2,
    "ssd_512_resnet50_v1_voc": 80.1,
    "ssd_512_mobilenet1.0_voc": 75.4,
    "ssd_300_vgg16_atrous_coco": 25.1,
    "ssd_512_vgg16_atrous_coco": 28.9,
    "ssd_300_resnet34_v1b_coco": 25.1,
    "ssd_512_resnet50_v1_coco": 30.6,
    "ssd_512_mobilenet1.0_coco": 21.7,
}


@dataclass(frozen=True)
class Store:
    """A package's table of published weights.

    Attributes:
        sums: name -> sha1.
        renamed: name in the table -> name of the network, where they differ.
        url: of an archive, with {name} in place of its name without .zip.
    """

    sums: dict[str, str]
    renamed: dict[str, str]
    url: str


def gluon_entries() -> tuple[ZooEntry, ...]:
    """Return gluoncv's SSDs, then its classification networks, then MXNet's where they differ; by name.

    Raises:
        DependencyError: a package is not installed, or its table is laid out in another way.
    """
    ours, theirs = read_store("gluoncv"), read_store("mxnet")
    names = sorted(ours.sums)
    entries = [_detector(ours, name) for name in names if _DETECTOR.fullmatch(name)]
    entries += [_backbone(ours, name) for name in names if _CLASSIFIER.fullmatch(name)]
    entries += [
        _backbone(theirs, name, other=True)
        for name in sorted(theirs.sums)
        if ours.sums.get(name) != theirs.sums[name]
    ]
    return tuple(entries)


@functools.cache
def read_store(package: str) -> Store:
    """Read a package's table without importing the package.

    Args:
        package: "gluoncv" or "mxnet".

    Raises:
        DependencyError: see `gluon_entries`.
    """
    place = "model_zoo/model_store.py" if package == "gluoncv" else "gluon/model_zoo/model_store.py"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DependencyError(
            f"the table of published weights needs the Python package {package}: run `make setup`"
        )
    path = Path(next(iter(found.submodule_search_locations))) / place
    try:
        stated = _assignments(path)
        sums = {name: digits for digits, name in ast.literal_eval(stated["_model_sha1"].generators[0].iter)}
        base, form = (ast.literal_eval(stated[key]) for key in ("apache_repo_url", "_url_format"))
        renamed = ast.literal_eval(stated["_renames"]) if "_renames" in stated else {}
        return Store(sums, renamed, form.format(repo_url=base, file_name="{name}"))
    except (OSError, SyntaxError, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise DependencyError(
            f"{path}: not the table of weights that is known here ({type(error).__name__}: {error}): run `make setup`,"
            " which installs the version that is"
        ) from error


def _assignments(path: Path) -> dict[str, ast.expr]:
    """Return what a file of Python assigns to names, as it is written."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _shared(store: Store, name: str) -> dict:
    """Return what detectors and backbones have in common."""
    return {
        "url": store.url.format(name=f"{name}-{store.sums[name][:8]}"),
        "checksum": Checksum("sha1", store.sums[name]),
        "mean": _MEAN,
        "std": _STD,
    }


def _detector(store: Store, name: str) -> ZooEntry:
    """Return the entry of an SSD."""
    side, data = _DETECTOR.fullmatch(name).groups()
    score = _SCORES.get(name)
    metric = _VOC_METRIC if data == "voc" else _COCO_METRIC
    return ZooEntry(
        name=name,
        kind=DETECTOR,
        files=(("*.params", f"{name}.params"),),
        source="gluoncv",
        usage=f"python tools/import_gluoncv.py {name} --params {{params}}",
        classes=VOC if data == "voc" else COCO,
        data_shape=(int(side), int(side)),
        score=score,
        metric=metric if score else "",
        **_shared(store, name),
    )


def _backbone(store: Store, name: str, *, other: bool = False) -> ZooEntry:
    """Return the entry of a classification network; `other` for MXNet's, where gluoncv has another one."""
    network = store.renamed.get(name, re.sub(r"^(hrnet_\w+)_cls$", r"\1_c", name))
    side, known_as = _SIDES.get(network, 224), f"mxnet:{network}" if other else network
    return ZooEntry(
        name=known_as,
        kind=BACKBONE,
        # not NAME-SHA1.params as in the archive: eight digits may look like an epoch's number
        files=(("*.params", f"{network}{'_mxnet' if other else ''}.params"),),
        source="mxnet" if other else "gluoncv",
        usage=f"python train.py --network gluon:{known_as} --pretrained imagenet --train-path data/train.rec",
        network=f"gluon:{known_as}",
        data_shape=(side, side),
        **_shared(store, name),
    )
