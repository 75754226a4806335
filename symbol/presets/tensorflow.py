"""The network of SSD.TensorFlow: VGG16 with scales of its own, the larger square first among a cell's default boxes.

Layers carry mxnet-ssd's names, so that weights of one system's VGG16 start the other's. Deliberate deviation: its input
was BGR, here it is RGB as everywhere.
"""

from __future__ import annotations

from dataclasses import replace

from symbol.presets.keras import SSD300

_RATIOS_3 = (1.0, 2.0, 0.5)
_RATIOS_5 = (1.0, 2.0, 3.0, 0.5, 0.3333)

SSD300_TF = replace(
    SSD300,
    scales=(0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075),
    ratios=(_RATIOS_3, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_3, _RATIOS_3),
    digits=4,
    order=(1, 0),
    mean=(123.68, 116.78, 103.94),
    source="SSD.TensorFlow ssd300_vgg16",
)

PRESETS = {"ssd300_tf": (SSD300_TF,)}
