"""VGG16 with its fully connected layers reduced to convolutions (fc6 dilated), mxnet-ssd's default backbone.

Source: mxnet-ssd symbol/vgg16_reduced.py; SSD paper, section 3; reduction of Chen et al., DeepLab.
"""

from common.mx import mx

# Convolutions and filters of the five stages.
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def backbone(data):
    """Stack VGG16's stages up to relu7.

    Args:
        data: (B, 3, H, W).

    Returns:
        relu7: (B, 1024, H/16, W/16); relu4_3 (B, 512, H/8, W/8) is among its internals.
    """
    body = data
    for stage, (convolutions, filters) in enumerate(STAGES, start=1):
        for number in range(1, convolutions + 1):
            name = f"conv{stage}_{number}"
            body = mx.sym.Convolution(body, kernel=(3, 3), pad=(1, 1), num_filter=filters, name=name)
            body = mx.sym.Activation(body, act_type="relu", name=f"relu{stage}_{number}")
        body = _pool(body, stage)
    body = mx.sym.Convolution(body, kernel=(3, 3), pad=(6, 6), dilate=(6, 6), num_filter=1024, name="fc6")
    body = mx.sym.Activation(body, act_type="relu", name="relu6")
    body = mx.sym.Convolution(body, kernel=(1, 1), num_filter=1024, name="fc7")
    return mx.sym.Activation(body, act_type="relu", name="relu7")


def _pool(body, stage: int):
    """Return the max pooling after a stage: halving, after the third rounding up, after the fifth keeping the size."""
    name = f"pool{stage}"
    if stage == 5:
        return mx.sym.Pooling(body, pool_type="max", kernel=(3, 3), stride=(1, 1), pad=(1, 1), name=name)
    convention = "full" if stage == 3 else "valid"
    return mx.sym.Pooling(
        body, pool_type="max", kernel=(2, 2), stride=(2, 2), pooling_convention=convention, name=name
    )
