"""Residual networks of the second kind (BatchNorm and ReLU before the convolutions).

Source: mxnet-ssd symbol/resnet.py; He et al., Identity Mappings in Deep Residual Networks (2016).
The sum of unit n (counted from 0 over all stages) is called `_plusN`. In mxnet-ssd that name came from MXNet's counter
and was right for the first network of a process only; here it is explicit. The features are the raw sums, as there.
"""

from common.mx import mx

# Units of the four stages.
UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
FILTERS = (256, 512, 1024, 2048)


def backbone(data, *, num_layers: int):
    """Stack the stem and the four stages, without the last BatchNorm and ReLU.

    Args:
        data: (B, 3, H, W).
        num_layers: 50 or 101.

    Returns:
        The last sum: (B, 2048, H/32, W/32); the other `_plusN` are among its internals.
    """
    body = _stem(data)
    count = 0
    for stage, (units, filters) in enumerate(zip(UNITS[num_layers], FILTERS), start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            name = f"stage{stage}_unit{unit}"
            shortcut_is_identity = unit > 1
            body = _unit(body, filters, stride, shortcut_is_identity, name, f"_plus{count}")
            count += 1
    return body


def _normalise(data, name: str, *, fix_gamma: bool = False):
    return mx.sym.BatchNorm(data, fix_gamma=fix_gamma, eps=2e-5, momentum=0.9, name=name)


def _convolution(data, filters: int, side: int, stride: int, name: str):
    return mx.sym.Convolution(
        data,
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(side // 2, side // 2),
        no_bias=True,
        name=name,
    )


def _stem(data):
    """Return the 7x7 convolution and pooling: (B, 3, H, W) -> (B, 64, H/4, W/4)."""
    body = _normalise(data, "bn_data", fix_gamma=True)
    body = _convolution(body, 64, 7, 2, "conv0")
    body = mx.sym.Activation(_normalise(body, "bn0"), act_type="relu", name="relu0")
    return mx.sym.Pooling(body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pooling0")


def _unit(data, filters: int, stride: int, shortcut_is_identity: bool, name: str, sum_name: str):
    """Return one bottleneck unit: three convolutions, each after BatchNorm and ReLU, plus the shortcut."""
    first = mx.sym.Activation(_normalise(data, f"{name}_bn1"), act_type="relu", name=f"{name}_relu1")
    body = _convolution(first, filters // 4, 1, 1, f"{name}_conv1")
    body = mx.sym.Activation(_normalise(body, f"{name}_bn2"), act_type="relu", name=f"{name}_relu2")
    body = _convolution(body, filters // 4, 3, stride, f"{name}_conv2")
    body = mx.sym.Activation(_normalise(body, f"{name}_bn3"), act_type="relu", name=f"{name}_relu3")
    body = _convolution(body, filters, 1, 1, f"{name}_conv3")
    shortcut = data if shortcut_is_identity else _convolution(first, filters, 1, stride, f"{name}_sc")
    return mx.sym.elemwise_add(body, shortcut, name=sum_name)
