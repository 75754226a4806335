"""The networks of ssd_keras.

Layers carry mxnet-ssd's names, so that weights of one system's VGG16 start the other's. Deliberate deviations:
ssd_keras turned RGB to BGR inside the graph, here the input is RGB as everywhere (the first convolution's weights are
to be turned once); its sizes are relative to the shorter side, ours to the height (equal unless the image is higher
than wide).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbol.backbones import ssd7_keras, vgg16_reduced
from symbol.config import Feature
from symbol.presets.mxnet_ssd import VGG16_300, VGG16_CAFFE_512
from symbol.presets.preset import Preset

_VGG16 = partial(vgg16_reduced.backbone, rounded_up=(1, 2, 3, 4))

# The small squares of weights trained on COCO are smaller than those of VOC's.
COCO_SCALES_300 = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
COCO_SCALES_512 = (0.04, 0.10, 0.26, 0.42, 0.58, 0.74, 0.90, 1.06)

SSD300 = replace(VGG16_300, backbone=_VGG16, source="ssd_keras SSD300, VOC")
SSD512 = replace(VGG16_CAFFE_512, backbone=_VGG16, source="ssd_keras SSD512, VOC")

# A cell's boxes go by its list of ratios, 1/2, 1, 1 (the larger square), 2; steps are the image's side / the cells.
SSD7 = Preset(
    backbone=ssd7_keras.backbone,
    features=tuple(Feature(f"elu{number}") for number in (4, 5, 6, 7)),
    scales=(0.08, 0.16, 0.32, 0.64, 0.96),
    ratios=((1.0, 2.0, 0.5),) * 4,
    order=(3, 0, 1, 2),
    exact_aspect=True,
    variances=(1.0, 1.0, 1.0, 1.0),
    data_shape=(300, 480),
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    rate=0.01,
    source="ssd_keras SSD7",
)

PRESETS = {
    "ssd300_keras": (SSD300,),
    "ssd300_keras_coco": (replace(SSD300, scales=COCO_SCALES_300, source="ssd_keras SSD300, COCO"),),
    "ssd512_keras": (SSD512,),
    "ssd512_keras_coco": (replace(SSD512, scales=COCO_SCALES_512, source="ssd_keras SSD512, COCO"),),
    "ssd7_keras": (SSD7,),
}
