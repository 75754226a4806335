"""ResNet-50 of the first kind up to its conv4 stage, as SSD-pytorch uses it: the fourth stage keeps the third's size.

The first feature map therefore lies at 1/8 of the image with 1024 channels, `layer3_6_relu`. Where a unit halves the
size its 3x3 convolution does (torchvision's form, "v1b" in gluoncv), not the first 1x1.

Source: SSD-pytorch src/model.py; He et al., Deep Residual Learning (2015), table 1.
"""

from __future__ import annotations

from common.mx import mx
from symbol.layers import activation, normalised

# Units, output channels and stride of the stages conv2, conv3 and conv4.
STAGES = ((3, 256, 1), (4, 512, 2), (6, 1024, 1))


def backbone(data):
    """Stack the stem and three stages of bottleneck units.

    Args:
        data: (B, 3, H, W).

    Returns:
        layer3_6_relu: (B, 1024, H/8, W/8).
    """
    body = normalised(data, "stem", act="relu", filters=64, side=7, stride=2)
    body = mx.sym.Pooling(
        body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="stem_pool"
    )  # (B, 64, H/4, W/4)
    for stage, (units, filters, first_stride) in enumerate(STAGES, start=1):
        for unit in range(1, units + 1):
            stride = first_stride if unit == 1 else 1
            body = _unit(body, f"layer{stage}_{unit}", filters, stride, changes=unit == 1)
    return body


def _unit(data, name: str, filters: int, stride: int, *, changes: bool):
    """Return one bottleneck unit; where it `changes` size or channels, its shortcut is a convolution."""
    middle = filters // 4
    body = normalised(data, f"{name}_reduce", act="relu", filters=middle)
    body = normalised(body, f"{name}_3x3", act="relu", filters=middle, side=3, stride=stride)
    body = normalised(body, f"{name}_restore", act="none", filters=filters)
    if changes:
        data = normalised(data, f"{name}_shortcut", act="none", filters=filters, stride=stride)
    return activation(mx.sym.elemwise_add(body, data, name=f"{name}_sum"), "relu", f"{name}_relu")
