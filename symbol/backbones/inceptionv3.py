"""Inception v3: modules of parallel towers whose maps are put beside each other.

Source: mxnet-ssd symbol/inceptionv3.py; Szegedy et al., Rethinking the Inception Architecture for Computer Vision
(2015), whose figures 5, 6, 7 and 10 show the modules. As in mxnet-ssd, BatchNorm's gamma is fixed to 1, and a module's
output is called ch_concat_mixed_N_chconcat.

A module is written as its towers: a tower is a name and a row of convolutions (filters, kernel, stride) that follow
each other. The parameters of convolution n are {tower}_conv_n_*, those of the first {tower}_conv_*.
"""

from __future__ import annotations

from common.mx import mx

ONE, THREE, FIVE, ROW, COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def backbone(data):
    """Stack the stem and the modules mixed to mixed_10.

    Args:
        data: (B, 3, H, W).

    Returns:
        ch_concat_mixed_10_chconcat: (B, 2048, h, w) at stride 32; ch_concat_mixed_2_chconcat (B, 288, h, w) at stride 8
        and ch_concat_mixed_7_chconcat (B, 768, h, w) at stride 16 are among its internals. Sides are rounded down.
    """
    body = _stem(data)
    for name, pooled in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        body = _wide(body, pooled, name)
    body = _halve_to_17(body, "mixed_3")
    for name, filters in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
        body = _long(body, filters, name)
    body = _halve_to_8(body, "mixed_8")
    body = _forked(body, "avg", "mixed_9")
    return _forked(body, "max", "mixed_10")


def _convolution(data, filters: int, kernel: tuple[int, int], stride: int, pad: tuple[int, int], name: str):
    """Return convolution, BatchNorm and ReLU."""
    body = mx.sym.Convolution(
        data,
        num_filter=filters,
        kernel=kernel,
        stride=(stride, stride),
        pad=pad,
        no_bias=True,
        name=f"{name}_conv2d",
    )
    # eps stays unsaid: MXNet's own 1e-3 is the nearest float32, the same number as text a double, which shows in the
    # last digits of the outputs.
    body = mx.sym.BatchNorm(body, fix_gamma=True, name=f"{name}_batchnorm")
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")


def _pool(data, kind: str, stride: int, name: str):
    """Return a 3x3 pooling: of stride 1 with padding, of stride 2 without."""
    pad = (2 - stride, 2 - stride)
    return mx.sym.Pooling(
        data, kernel=THREE, stride=(stride, stride), pad=pad, pool_type=kind, name=f"{kind}_pool_{name}_pool"
    )


def _stem(data):
    """Return the five convolutions before the modules: (B, 3, H, W) -> (B, 192, H/8, W/8), rounded down."""
    body = _convolution(data, 32, THREE, 2, (0, 0), "conv")
    body = _convolution(body, 32, THREE, 1, (0, 0), "conv_1")
    body = _convolution(body, 64, THREE, 1, (1, 1), "conv_2")
    body = mx.sym.Pooling(body, kernel=THREE, stride=(2, 2), pool_type="max", name="pool")
    body = _convolution(body, 80, ONE, 1, (0, 0), "conv_3")
    body = _convolution(body, 192, THREE, 1, (0, 0), "conv_4")
    return mx.sym.Pooling(body, kernel=THREE, stride=(2, 2), pool_type="max", name="pool1")


def _tower(data, name: str, *convolutions: tuple[int, tuple[int, int], int]):
    """Return a row of convolutions; those of stride 1 keep the size, those of stride 2 have no padding."""
    body = data
    for number, (filters, kernel, stride) in enumerate(convolutions):
        pad = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else (0, 0)
        body = _convolution(
            body, filters, kernel, stride, pad, f"{name}_conv" + (f"_{number}" if number else "")
        )
    return body


def _join(towers: list, name: str):
    """Return the towers' maps beside each other."""
    return mx.sym.concat(*towers, dim=1, name=f"ch_concat_{name}_chconcat")


def _wide(data, pooled: int, name: str):
    """Return a module of 5x5 and 3x3 towers; `pooled` filters follow its pooling."""
    towers = [
        _tower(data, name, (64, ONE, 1)),
        _tower(data, f"{name}_tower", (48, ONE, 1), (64, FIVE, 1)),
        _tower(data, f"{name}_tower_1", (64, ONE, 1), (96, THREE, 1), (96, THREE, 1)),
        _tower(_pool(data, "avg", 1, name), f"{name}_tower_2", (pooled, ONE, 1)),
    ]
    return _join(towers, name)


def _halve_to_17(data, name: str):
    """Return the module between stride 8 and 16 (35x35 to 17x17 cells at the paper's 299 pixels)."""
    towers = [
        _tower(data, name, (384, THREE, 2)),
        _tower(data, f"{name}_tower", (64, ONE, 1), (96, THREE, 1), (96, THREE, 2)),
        _pool(data, "max", 2, name),
    ]
    return _join(towers, name)


def _long(data, filters: int, name: str):
    """Return a module of 1x7 and 7x1 convolutions; `filters` is the width inside its towers."""
    once = ((filters, ONE, 1), (filters, ROW, 1), (192, COLUMN, 1))
    twice = ((filters, ONE, 1), (filters, COLUMN, 1), (filters, ROW, 1), (filters, COLUMN, 1), (192, ROW, 1))
    towers = [
        _tower(data, name, (192, ONE, 1)),
        _tower(data, f"{name}_tower", *once),
        _tower(data, f"{name}_tower_1", *twice),
        _tower(_pool(data, "avg", 1, name), f"{name}_tower_2", (192, ONE, 1)),
    ]
    return _join(towers, name)


def _halve_to_8(data, name: str):
    """Return the module between stride 16 and 32 (17x17 to 8x8 cells at the paper's 299 pixels)."""
    towers = [
        _tower(data, f"{name}_tower", (192, ONE, 1), (320, THREE, 2)),
        _tower(data, f"{name}_tower_1", (192, ONE, 1), (192, ROW, 1), (192, COLUMN, 1), (192, THREE, 2)),
        _pool(data, "max", 2, name),
    ]
    return _join(towers, name)


def _forked(data, kind: str, name: str):
    """Return a module whose towers end in a 1x3 and a 3x1 convolution side by side; `kind` is its pooling's."""
    low = _tower(data, f"{name}_tower", (384, ONE, 1))
    high = _tower(data, f"{name}_tower_1", (448, ONE, 1), (384, THREE, 1))
    towers = [_tower(data, name, (320, ONE, 1))]
    for body, tower in ((low, f"{name}_tower"), (high, f"{name}_tower_1")):
        towers.append(_convolution(body, 384, (1, 3), 1, (0, 1), f"{tower}_mixed_conv"))
        towers.append(_convolution(body, 384, (3, 1), 1, (1, 0), f"{tower}_mixed_conv_1"))
    towers.append(_tower(_pool(data, kind, 1, name), f"{name}_tower_2", (192, ONE, 1)))
    return _join(towers, name)
