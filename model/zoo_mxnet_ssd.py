"""The weights that mxnet-ssd released, as a table.

No checksum was published for them: what the first download brings is written down, and a second one is held to it (see
`model.zoo`). Files are named anew, so that `--network N --data-shape S` finds them as mxnet-ssd's demo.py would have;
in the archives they have many names (ssd_300-0000, mobilenet-ssd-512-0001, ssd_inceptionv3_512-0215).

The two VGG detectors are older than mxnet-ssd's `vgg16_reduced`: their layers are those of its legacy networks (its
issues 162 and 218).

Source: README and releases of github.com/zhreshold/mxnet-ssd; VOC07+12 trainval for training, VOC07 test for the mAP.
"""

from __future__ import annotations

from model.zoo_classes import VOC
from model.zoo_entry import BACKBONE, DETECTOR, ZooEntry

_RELEASES = "https://github.com/zhreshold/mxnet-ssd/releases/download"
_SOURCE = "mxnet-ssd"
_MEAN = (123.0, 117.0, 104.0)
_METRIC = "mAP, IoU 0.5, VOC07 test"
_PARAMS = "*-[0-9][0-9][0-9][0-9].params"


def _detector(name: str, network: str, side: int, release: str, score: float | None) -> ZooEntry:
    """Return the entry of a detector.

    Args:
        name: prefix of its files here.
        network: that its graph is of.
        side: of its input, in pixels.
        release: the tag, a slash, the archive.
        score: mAP in percent.
    """
    return ZooEntry(
        name=name,
        kind=DETECTOR,
        url=f"{_RELEASES}/{release}",
        files=(("*-symbol.json", f"{name}-symbol.json"), (_PARAMS, f"{name}-0000.params")),
        source=_SOURCE,
        usage=f"python demo.py --prefix {{prefix}} --network {network} --data-shape {side}"
        " --class-names {prefix}.names --images PICTURE",
        network=network,
        classes=VOC,
        data_shape=(side, side),
        mean=_MEAN,
        score=score,
        metric=_METRIC if score else "",
    )


MXNET_SSD = (
    _detector(
        "ssd_vgg16_reduced_300",
        "legacy_vgg16_ssd_300",
        300,
        "v0.5-beta/vgg16_ssd_300_voc0712_trainval.zip",
        77.8,
    ),
    _detector(
        "ssd_vgg16_reduced_512",
        "legacy_vgg16_ssd_512",
        512,
        "v0.5-beta/vgg16_ssd_512_voc0712_trainval.zip",
        79.9,
    ),
    _detector(
        "ssd_inceptionv3_512", "inceptionv3", 512, "v0.7-alpha/ssd_inceptionv3_512_voc0712trainval.zip", 78.9
    ),
    _detector("ssd_resnet50_512", "resnet50", 512, "v0.7-alpha/ssd_resnet50_512_voc0712trainval.zip", 79.1),
    # The one before, which mxnet-ssd's demo used; no mAP was published for it.
    _detector("ssd_resnet50_512_v0.6", "resnet50", 512, "v0.6/resnet50_ssd_512_voc0712_trainval.zip", None),
    _detector("ssd_mobilenet_512", "mobilenet", 512, "v0.7-alpha/mobilenet-ssd-512.zip", 72.5),
    _detector("ssd_mobilenet_608", "mobilenet", 608, "v0.7-alpha/mobilenet-ssd-608.zip", 74.7),
    ZooEntry(
        name="vgg16_reduced",
        kind=BACKBONE,
        url=f"{_RELEASES}/v0.2-beta/vgg16_reduced.zip",
        files=(("*-symbol.json", "vgg16_reduced-symbol.json"), (_PARAMS, "vgg16_reduced-0001.params")),
        source=_SOURCE,
        usage="python train.py --network vgg16_reduced --data-shape 300 --pretrained {prefix} --epoch 1"
        " --train-path data/train.rec",
        network="vgg16_reduced",
        mean=_MEAN,
    ),
)
