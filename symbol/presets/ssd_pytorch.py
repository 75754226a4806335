"""The networks of SSD-pytorch: layers and default boxes equal its own, which come in another order there.

Deviations: default boxes stand position by position, not size by size (symbol/anchor_order.py has the permutation); the
first head of ssdlite-mobilenetv2 sends its gradient into the backbone; the seventh pair of heads, which it builds and
never uses, is not here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbol import extras
from symbol.backbones import mobilenet_v2, resnet_v1
from symbol.backbones.mobilenet_v1 import round_channels
from symbol.config import Feature
from symbol.presets.preset import RATIOS_3, RATIOS_5, Preset
from symbol.presets.pytorch_ssd import MB2_LITE

# ImageNet's, in 0..255.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Filters of the middle and of the output, stride.
_EXTRAS = ((256, 512, 2), (256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1))

# The scales are those for COCO: 21 to 315 of 300 pixels.
RESNET50 = Preset(
    backbone=resnet_v1.backbone,
    features=(
        Feature("layer3_6_relu"),
        *(
            Feature(
                f"multi_feat_{index}",
                partial(extras.plain_bn, middle=middle, filters=filters, stride=stride),
            )
            for index, (middle, filters, stride) in enumerate(_EXTRAS, start=1)
        ),
    ),
    scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    ratios=(RATIOS_3, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_3, RATIOS_3),
    steps=(8, 16, 32, 64, 100, 300),
    steps_for=(300, 300),
    clamp=True,
    mean=MEAN,
    std=STD,
    rate=0.01,
    source="SSD-pytorch ssd",
)


def _backbone(data, *, width: float = 1.0):
    """Return MobileNetV2 with the channels that torchvision rounds to multiples of 8."""
    return mobilenet_v2.backbone(data, width=width, rounded=round_channels)


def _widened(preset: Preset, width: float) -> Preset:
    return replace(preset, backbone=partial(_backbone, width=width))


SSDLITE = replace(
    MB2_LITE, backbone=_backbone, mean=MEAN, std=STD, widen=_widened, source="SSD-pytorch ssdlite"
)

PRESETS = {"ssd-resnet50": (RESNET50,), "ssdlite-mobilenetv2": (SSDLITE,)}
