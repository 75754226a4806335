"""The convolutions that predict boxes and classes from one feature map, of the kinds that a `Feature` names.

The last convolution of every kind is called `{name}_conv`: its filters go cell by cell, default box by default box
(index k * channels + c), whatever stands before it.

Source: SSD paper, section 2.1; the separable kinds are those of SSDLite (Sandler et al., MobileNetV2, section 6.2) as
pytorch-ssd and SSD-pytorch build them. Their depthwise convolution has a bias before the BatchNorm too, which takes it
out again: it stays, so that their weights fit.
"""

from __future__ import annotations

from common.mx import mx
from symbol.extras import depthwise, new_bias
from symbol.layers import activation, batch_norm


def predict(layer, filters: int, name: str, *, kind: str, channels: int):
    """Return one head of one feature map, cell by cell.

    Args:
        layer: (B, C, h, w).
        filters: default boxes of a cell times what each of them gets, F.
        name: {feature layer}_loc_pred or {feature layer}_cls_pred.
        kind: one of `symbol.config.HEADS`.
        channels: C.

    Returns:
        (B, h * w * F).
    """
    if kind.startswith("separable"):
        layer = _depthwise(layer, channels, name, batch_norm_too=kind == "separable_bn")
    side = 3 if kind == "plain" else 1
    body = mx.sym.Convolution(
        layer,
        bias=new_bias(f"{name}_conv_bias"),
        num_filter=filters,
        kernel=(side, side),
        pad=(side // 2, side // 2),
        name=f"{name}_conv",
    )
    body = mx.sym.transpose(body, axes=(0, 2, 3, 1), name=f"{name}_nhwc")  # (B, F, h, w) -> (B, h, w, F)
    return mx.sym.Flatten(body, name=f"{name}_flat")


def _depthwise(layer, channels: int, name: str, *, batch_norm_too: bool):
    """Return the depthwise 3x3 convolution of a separable head with what follows it."""
    body = depthwise(layer, f"{name}_dw", channels=channels)
    if not batch_norm_too:
        return activation(body, "relu", f"{name}_dw_relu")
    return activation(batch_norm(body, f"{name}_dw_bn"), "relu6", f"{name}_dw_relu6")
