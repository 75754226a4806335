"""VGG16 with its fully connected layers reduced to convolutions (fc6 dilated), mxnet-ssd's default backbone.

Source: mxnet-ssd symbol/vgg16_reduced.py; SSD paper, section 3; reduction of Chen et al., DeepLab.
Of the two forms of it, mxnet-ssd's rounds up in the third pooling alone, Caffe's and ssd_keras's in every
one: they differ where a side is odd before another pooling.
"""

from __future__ import annotations

from common.mx import mx

# Convolutions and filters of the five stages.
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def backbone(data, *, reduced: tuple[str, str] = ("fc6", "fc7"), rounded_up: tuple[int, ...] = (3,)):
    """Stack VGG16's stages up to relu7.

    Args:
        data: (B, 3, H, W).
        reduced: names of the two convolutions that were fully connected.
        rounded_up: stages whose pooling halves a side upwards.

    Returns:
        relu7: (B, 1024, H/16, W/16); relu4_3 (B, 512, H/8, W/8) is among its internals.
    """
    body = data
    for stage, (convolutions, filters) in enumerate(STAGES, start=1):
        for number in range(1, convolutions + 1):
            name = f"conv{stage}_{number}"
            body = mx.sym.Convolution(body, kernel=(3, 3), pad=(1, 1), num_filter=filters, name=name)
            body = mx.sym.Activation(body, act_type="relu", name=f"relu{stage}_{number}")
        body = _pool(body, stage, "full" if stage in rounded_up else "valid")
    first, second = reduced
    body = mx.sym.Convolution(body, kernel=(3, 3), pad=(6, 6), dilate=(6, 6), num_filter=1024, name=first)
    body = mx.sym.Activation(body, act_type="relu", name="relu6")
    body = mx.sym.Convolution(body, kernel=(1, 1), num_filter=1024, name=second)
    return mx.sym.Activation(body, act_type="relu", name="relu7")


def _pool(body, stage: int, convention: str):
    """Return the max pooling after a stage: halving, after the fifth keeping the size."""
    name = f"pool{stage}"
    if stage == 5:
        return mx.sym.Pooling(body, pool_type="max", kernel=(3, 3), stride=(1, 1), pad=(1, 1), name=name)
    return mx.sym.Pooling(
        body, pool_type="max", kernel=(2, 2), stride=(2, 2), pooling_convention=convention, name=name
    )
