"""The networks of pytorch-ssd: layers, default boxes and numbers of parameters equal its own.

Deviations: vgg16-ssd has BatchNorm before its first head, as the system has since it exports to ONNX; mb1-ssd and
mb1-ssd-lite have a width multiplier.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbol import extras
from symbol.backbones import mobilenet_v1, mobilenet_v2, mobilenet_v3, squeezenet, vgg16_reduced
from symbol.config import Feature
from symbol.presets.preset import RATIOS_3, RATIOS_5, Preset, plain_extras

_LITE_NUMBERS = ((256, 512), (128, 256), (128, 256))  # of extra blocks: filters of the middle, of the output

VGG16 = Preset(
    backbone=vgg16_reduced.backbone,
    features=(
        Feature("relu4_3", norm="batch"),
        Feature("relu7"),
        *plain_extras(2, ((512, 2, 1), (256, 2, 1), (256, 1, 0), (256, 1, 0))),
    ),
    scales=(0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05),
    ratios=(RATIOS_3, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_3, RATIOS_3),
    steps=(8, 16, 32, 64, 100, 300),
    steps_for=(300, 300),
    clamp=True,
    source="pytorch-ssd vgg16-ssd",
)


def mobile(backbone, features: tuple[Feature, ...], source: str) -> Preset:
    """Return a preset with the default boxes that all mobile networks share: 60 to 330 of 300 pixels.

    Args:
        backbone: data -> Symbol.
        features: six feature maps.
        source: the system, and the network's name there.
    """
    return Preset(
        backbone=backbone,
        features=features,
        scales=(0.20, 0.35, 0.50, 0.65, 0.80, 0.95, 1.10),
        ratios=(RATIOS_5,) * 6,
        steps=(16, 32, 64, 100, 150, 300),
        steps_for=(300, 300),
        clamp=True,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        rate=0.02,
        source=source,
    )


def _widened(preset: Preset, width: float, *, backbone) -> Preset:
    """Return the preset with a backbone of another width."""
    return replace(preset, backbone=partial(backbone, width=width))


def _separable(index: int, numbers: tuple[int, int], pad: int = 1) -> Feature:
    """Return an extra block without BatchNorm, with its head."""
    middle, filters = numbers
    block = partial(extras.separable, middle=middle, filters=filters, pad=pad)
    return Feature(f"multi_feat_{index}", block, head="separable")


def inverted_extras(act: str, first: int = 2) -> tuple[Feature, ...]:
    """Return the extra blocks of MobileNetV2 and V3: inverted residuals, the last one's head pointwise.

    Args:
        act: "relu6" or "hswish".
        first: index of the first among the feature maps.
    """
    numbers = (*_LITE_NUMBERS, (64, 64))
    heads = ("separable_bn", "separable_bn", "separable_bn", "pointwise")
    return tuple(
        Feature(
            f"multi_feat_{index}",
            partial(extras.inverted_residual, hidden=hidden, filters=filters, act=act),
            head=head,
        )
        for index, ((hidden, filters), head) in enumerate(zip(numbers, heads), start=first)
    )


MB1 = replace(
    mobile(
        mobilenet_v1.backbone,
        (
            Feature("conv_12_relu"),
            Feature("conv_14_relu"),
            *plain_extras(2, ((512, 2, 1), (256, 2, 1), (256, 2, 1), (256, 2, 1))),
        ),
        "pytorch-ssd mb1-ssd",
    ),
    widen=partial(_widened, backbone=mobilenet_v1.backbone),
)

MB1_LITE = replace(
    MB1,
    features=(
        Feature("conv_12_relu", head="separable"),
        Feature("conv_14_relu", head="separable"),
        *(_separable(index, numbers) for index, numbers in enumerate(_LITE_NUMBERS, start=2)),
        replace(_separable(5, (128, 256)), head="pointwise"),
    ),
    source="pytorch-ssd mb1-ssd-lite",
)

MB2_LITE = replace(
    mobile(
        mobilenet_v2.backbone,
        (
            Feature("block_14_expand_relu6", head="separable_bn"),
            Feature("conv_18_relu6", head="separable_bn"),
            *inverted_extras("relu6"),
        ),
        "pytorch-ssd mb2-ssd-lite",
    ),
    widen=partial(_widened, backbone=mobilenet_v2.backbone),
)


def _mobilenet_v3(blocks: tuple, last: int, tap: str, source: str) -> Preset:
    return mobile(
        partial(mobilenet_v3.backbone, blocks=blocks, last=last),
        (
            Feature(tap, head="separable_bn"),
            Feature("conv_last_hswish", head="separable_bn"),
            *inverted_extras("hswish"),
        ),
        source,
    )


# Its first extra block stands on the last fire module, and is padded by 2 to make 10x10 cells of 17x17.
# Without a BatchNorm it learns half as fast.
_SQUEEZENET_LITE = mobile(
    squeezenet.backbone,
    (
        Feature("fire8", head="separable"),
        Feature(
            "multi_feat_1",
            partial(squeezenet.above_fire9, block=partial(extras.separable, middle=256, filters=512, pad=2)),
            head="separable",
        ),
        *(_separable(index, numbers) for index, numbers in enumerate(_LITE_NUMBERS, start=2)),
        replace(_separable(5, (128, 256)), head="pointwise"),
    ),
    "pytorch-ssd sq-ssd-lite",
)
SQUEEZENET_LITE = replace(_SQUEEZENET_LITE, rate=0.01)

PRESETS = {
    "vgg16-ssd": (VGG16,),
    "mb1-ssd": (MB1,),
    "mb1-ssd-lite": (MB1_LITE,),
    "mb2-ssd-lite": (MB2_LITE,),
    "mb3-large-ssd-lite": (
        _mobilenet_v3(mobilenet_v3.LARGE, 960, "block_12_sum", "pytorch-ssd mb3-large-ssd-lite"),
    ),
    "mb3-small-ssd-lite": (
        _mobilenet_v3(mobilenet_v3.SMALL, 576, "block_8_sum", "pytorch-ssd mb3-small-ssd-lite"),
    ),
    "sq-ssd-lite": (SQUEEZENET_LITE,),
}
