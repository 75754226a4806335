"""The seven-convolution backbone: small enough to train from random weights on a CPU.

Layout of ssd_keras's SSD7 (filters 32, 48, 64, 64, 48, 48, 32; feature maps from conv4 to conv7, strides 8 to 64).
Deliberate deviations: ReLU in place of ELU (fuses with the convolution at inference); no bias before a BatchNorm;
pooling rounds up, so that every pixel of the image lies in a cell of every feature map and cell i's centre stands at
exactly (i + 0.5) * stride; with the original's rounding down a 300-pixel image loses its last 44 pixels at stride 64.
"""

from common.mx import mx

FILTERS = (32, 48, 64, 64, 48, 48, 32)
FIRST_FEATURE = 4  # the first block whose output a head reads


def backbone(data):
    """Stack the seven blocks of convolution, BatchNorm, ReLU, with a 2x2 max pooling between them.

    Args:
        data: (B, 3, H, W).

    Returns:
        relu7: (B, 32, ceil(H / 64), ceil(W / 64)); relu4, relu5 and relu6 are among its internals.
    """
    body = data
    for number, filters in enumerate(FILTERS, start=1):
        body = _normalised_convolution(body, number, filters)
        if number < FIRST_FEATURE:
            # max(relu(x)) = relu(max(x)): pooled first, the ReLU has a quarter of the cells to go through.
            body = mx.sym.Activation(_pool(body, number), act_type="relu", name=f"relu{number}")
        else:
            body = mx.sym.Activation(body, act_type="relu", name=f"relu{number}")
            body = _pool(body, number) if number < len(FILTERS) else body
    return body


def _normalised_convolution(body, number: int, filters: int):
    """Return convolution and BatchNorm of one block; the first kernel is 5x5."""
    side = 5 if number == 1 else 3
    pad = (side // 2, side // 2)
    body = mx.sym.Convolution(
        body, num_filter=filters, kernel=(side, side), pad=pad, no_bias=True, name=f"conv{number}"
    )
    return mx.sym.BatchNorm(body, fix_gamma=False, eps=1e-5, momentum=0.9, name=f"bn{number}")


def _pool(body, number: int):
    """Halve height and width, rounded up: (B, C, h, w) -> (B, C, ceil(h / 2), ceil(w / 2))."""
    return mx.sym.Pooling(
        body, kernel=(2, 2), stride=(2, 2), pool_type="max", pooling_convention="full", name=f"pool{number}"
    )
