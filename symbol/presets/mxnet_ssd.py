"""The networks of mxnet-ssd: equal to its symbol/symbol_factory.py, so that its checkpoints load.

resnet18, resnet34 and resnet152 stand beside them: its backbone file could build them, its table did not name them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbol.backbones import densenet, inceptionv3, mobilenet, resnet, vgg16_reduced
from symbol.config import Feature
from symbol.extras import plain
from symbol.extras_legacy import numbered
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

# As Caffe has it: a last convolution of 4x4 makes one cell of those 2x2, and all boxes lie over the image.
VGG16_CAFFE_512 = replace(
    VGG16_512,
    features=(
        *VGG16_512.features[:-1],
        Feature("multi_feat_6", partial(plain, filters=256, stride=1, pad=1, side=4)),
    ),
    min_side=0,
    source="Caffe's SSD512 under mxnet-ssd's names",
)


def _legacy(preset: Preset, digits: int, blocks: tuple[tuple[int, int, int, int], ...]) -> Preset:
    """Return a network under Caffe's names.

    Args:
        preset: of the same network.
        digits: see `Preset`; there the second squares' sides stood as decimals.
        blocks: (filters, stride, pad, side) of each extra block's second convolution.
    """
    extras = tuple(
        Feature(f"conv{number}", partial(numbered, filters=filters, stride=stride, pad=pad, side=side))
        for number, (filters, stride, pad, side) in enumerate(blocks, start=8)
    )
    return replace(
        preset,
        backbone=partial(vgg16_reduced.backbone, reduced=("conv6", "conv7")),
        features=(*preset.features[:2], *extras),
        digits=digits,
        min_side=0,
        source=f"mxnet-ssd legacy_vgg16_ssd_{preset.data_shape[0]}",
    )


LEGACY_300 = _legacy(VGG16_300, 3, ((512, 2, 1, 3), (256, 2, 1, 3), (256, 1, 0, 3), (256, 1, 0, 3)))
LEGACY_512 = _legacy(
    VGG16_512, 4, ((512, 2, 1, 3), (256, 2, 1, 3), (256, 2, 1, 3), (256, 2, 1, 3), (256, 1, 1, 4))
)

INCEPTION_300 = Preset(
    backbone=inceptionv3.backbone,
    features=(
        *(Feature(f"ch_concat_mixed_{number}_chconcat") for number in (2, 7, 10)),
        *plain_extras(3, ((256, 2, 1), (256, 2, 1), (128, 2, 1))),
    ),
    scales=SCALES_6,
    ratios=RATIOS_6_MAPS,
    source="mxnet-ssd inceptionv3",
)

INCEPTION_512 = replace(
    INCEPTION_300,
    features=(*INCEPTION_300.features[1:3], *plain_extras(2, _HALVING)),
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


def _densenet(name: str, growth: int, units: tuple[int, ...], stages: tuple[int, int]) -> Preset:
    """Return the preset of a densely connected network: two stages, counted from 1, as they end."""
    return Preset(
        backbone=partial(densenet.backbone, units=units, growth=growth),
        features=(
            *(Feature(f"DBstage{stage}_concat{units[stage - 1]}") for stage in stages),
            *plain_extras(2, ((256, 2, 1), *_HALVING[1:])),
        ),
        scales=SCALES_6,
        ratios=RATIOS_6_MAPS,
        source=f"mxnet-ssd {name}",
    )


# Variants by falling min_side: the first whose min_side the input reaches is taken.
PRESETS = {
    "vgg16_reduced": (VGG16_512, VGG16_300),
    "vgg16_reduced_caffe": (VGG16_CAFFE_512,),
    "legacy_vgg16_ssd_300": (LEGACY_300,),
    "legacy_vgg16_ssd_512": (LEGACY_512,),
    "inceptionv3": (INCEPTION_512, INCEPTION_300),
    **{f"resnet{layers}": (_resnet(layers),) for layers in sorted(resnet.UNITS)},
    "mobilenet": (MOBILENET,),
    "densenet121": (_densenet("densenet121", 32, (6, 12, 24, 16), (3, 4)),),
    "densenet-tiny": (_densenet("densenet-tiny", 16, (6, 12, 18, 12), (2, 3)),),
}
