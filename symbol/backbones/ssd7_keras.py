"""ssd_keras's SSD7 as it was: seven convolutions with BatchNorm and ELU.

Source: ssd_keras models/keras_ssd7.py. symbol/backbones/ssd7.py is the same layout made faster; here stand what that
one changed: ELU, a bias before every BatchNorm (which takes it away again: its gradient is 0 but for rounding), and
pooling that rounds down, after the activation.
"""

from common.mx import mx
from symbol.backbones.ssd7 import FILTERS


def backbone(data):
    """Stack the seven blocks of convolution, BatchNorm, ELU, with a 2x2 max pooling between them.

    Args:
        data: (B, 3, H, W).

    Returns:
        elu7: (B, 32, H // 64, W // 64); elu4, elu5 and elu6 are among its internals.
    """
    body = data
    for number, filters in enumerate(FILTERS, start=1):
        side = 5 if number == 1 else 3
        pad = (side // 2, side // 2)
        body = mx.sym.Convolution(
            body, num_filter=filters, kernel=(side, side), pad=pad, name=f"conv{number}"
        )
        body = mx.sym.BatchNorm(body, fix_gamma=False, eps=1e-3, momentum=0.99, name=f"bn{number}")
        body = mx.sym.LeakyReLU(body, act_type="elu", slope=1.0, name=f"elu{number}")
        if number < len(FILTERS):
            body = mx.sym.Pooling(body, kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{number}")
    return body
