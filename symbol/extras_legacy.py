"""The extra blocks of mxnet-ssd's oldest networks, with Caffe's layers by number: conv8_1, relu8_1, conv8_2, relu8_2.

Used like those of symbol/extras.py, which name the blocks by their feature map instead.

Source: mxnet-ssd symbol/legacy_vgg16_ssd_300.py and legacy_vgg16_ssd_512.py; SSD paper, figure 2.
"""

from symbol.extras import biased_convolution


def numbered(data, name: str, *, filters: int, stride: int, pad: int, side: int = 3):
    """Return a 1x1 convolution to half of the filters, then the map's convolution.

    Args:
        data: (B, C, h, w).
        name: convN.
        filters: of the second convolution.
        stride: of the second convolution.
        pad: of the second convolution.
        side: of the second convolution's kernel.

    Returns:
        reluN_2: (B, filters, h', w').
    """
    number = name[len("conv") :]
    body = biased_convolution(data, filters // 2, 1, 1, 0, names=(f"conv{number}_1", f"relu{number}_1"))
    return biased_convolution(body, filters, side, stride, pad, names=(f"conv{number}_2", f"relu{number}_2"))
