"""The networks of mxnet-ssd: equal to its symbol/symbol_factory.py, so that its checkpoints load."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbol.backbones import mobilenet, resnet, vgg16_reduced
from symbol.config import Feature
from symbol.presets.preset import RATIOS_3, RATIOS_5, Preset, plain_extras

SCALES_6 = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
SCALES_7 = (0.07, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90, 1.05)
RATIOS_6_MAPS = (RATIOS_3, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_3, RATIOS_3)
RATIOS_7_MAPS = (RATIOS_3, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_3, RATIOS_3)
_HALVING = ((512, 2, 1), (256, 2, 1), (256, 2, 1), (128, 2, 1))

VGG16_300 = Preset(
    backbone=vgg16_reduced.backbone,
    features=(
        Feature("relu4_3", norm="l2"),
        Feature("relu7"),
        *plain_extras(2, ((512, 2, 1), (256, 2, 1), (256, 1, 0), (256, 1, 0))),
    ),
    scales=SCALES_6,
    ratios=RATIOS_6_MAPS,
    steps=(8, 16, 32, 64, 100, 300),
    steps_for=(300, 300),
    source="mxnet-ssd vgg16_reduced",
)

# The last map has 2x2 cells at 512 but a step of the whole image: three of its four cells lie outside. Checkpoints
# trained with mxnet-ssd have that built in, so it stays.
VGG16_512 = replace(
    VGG16_300,
    features=(
        *VGG16_300.features[:2],
        *plain_extras(2, ((512, 2, 1), (256, 2, 1), (256, 2, 1), (256, 2, 1), (256, 1, 1))),
    ),
    scales=SCALES_7,
    ratios=RATIOS_7_MAPS,
    steps=(8, 16, 32, 64, 128, 256, 512),
    steps_for=(512, 512),
    data_shape=(512, 512),
    min_side=448,
)


def _resnet(num_layers: int) -> Preset:
    """Return the preset of a residual network: the sums at the ends of its third and fourth stage."""
    units = resnet.UNITS[num_layers]
    return Preset(
        backbone=partial(resnet.backbone, num_layers=num_layers),
        features=(
            Feature(f"_plus{sum(units[:3]) - 1}"),
            Feature(f"_plus{sum(units) - 1}"),
            *plain_extras(2, _HALVING),
        ),
        scales=SCALES_6,
        ratios=RATIOS_6_MAPS,
        source=f"mxnet-ssd resnet{num_layers}",
    )


MOBILENET = Preset(
    backbone=mobilenet.backbone,
    features=(
        Feature("conv_12_relu"),
        Feature("conv_14_relu"),
        *plain_extras(2, ((512, 2, 1), *(((256, 2, 1),) * 4))),
    ),
    scales=SCALES_7,
    ratios=RATIOS_7_MAPS,
    source="mxnet-ssd mobilenet",
)

# Variants by falling min_side: the first whose min_side the input reaches is taken.
PRESETS = {
    "vgg16_reduced": (VGG16_512, VGG16_300),
    "resnet50": (_resnet(50),),
    "resnet101": (_resnet(101),),
    "mobilenet": (MOBILENET,),
}
