"""Deploy prototxts of the SSDs that people have, written by rule, for nets of any size, width and options.

Each function takes an `Options` (or fields of one as keywords) and gives the text of a prototxt. `width` multiplies the
channels of the backbone, so that a test runs in a fraction of the time. Sides are to be those of the defaults or more:
the last maps would vanish below.

Sources: the SSD paper (VGG, 300 and 512); the papers of the backbones; heads as the SSD branch of Caffe lays them out.
"""

from __future__ import annotations

from dataclasses import replace

from prototxt_small import everything, two_outputs
from prototxt_writer import (
    Options,
    Output,
    Priors,
    Source,
    Word,
    Writer,
    depthwise,
    heads,
    write_fields,
)

__all__ = ["ARCHITECTURES", "Options", "Output", "Priors", "Word", "write_fields"]


def vgg_ssd300(options: Options | None = None, **changes) -> str:
    """VGG-SSD 300: Normalize on conv4_3, dilated fc6, six sources."""
    options = replace(options or Options(), **changes)
    writer = _vgg(options)
    for name, (squeeze, count), params in (
        ("conv6", (256, 512), {"stride": 2}),
        ("conv7", (128, 256), {"stride": 2}),
        ("conv8", (128, 256), {"pad": None}),
        ("conv9", (128, 256), {"pad": None}),
    ):
        _extra(writer, name, squeeze, count, **params)
    blobs = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    edges = (30, 60, 111, 162, 213, 264, 315)
    heads(writer, _vgg_sources(blobs, edges, (8, 16, 32, 64, 100, 300)))
    return writer.text()


def vgg_ssd512(options: Options | None = None, **changes) -> str:
    """VGG-SSD 512: seven sources, the last by a 4x4 convolution."""
    options = replace(options or Options(size=(512, 512)), **changes)
    writer = _vgg(options)
    for name in ("conv6", "conv7", "conv8", "conv9"):
        _extra(writer, name, 256 if name == "conv6" else 128, 512 if name == "conv6" else 256, stride=2)
    _extra(writer, "conv10", 128, 256, kernel_size=4)
    blobs = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2")
    edges = tuple(share * 300 for share in (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05))
    heads(writer, _vgg_sources(blobs, edges, (8, 16, 32, 64, 128, 256, 512)))
    return writer.text()


def _vgg(options: Options) -> Writer:
    """Write VGG-16 with fc6 and fc7 as convolutions."""
    writer = Writer(options)
    blob = writer.start("VGG_SSD")
    for stage, (count, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for index in range(1, depth + 1):
            blob = writer.relu(writer.conv(f"conv{stage}_{index}", blob, options.channels(count)))
        size = (3, 1, 1) if stage == 5 else (2, 2)
        blob = writer.pool(f"pool{stage}", blob, *size)
    blob = writer.relu(writer.conv("fc6", blob, options.channels(1024), pad=6, dilation=6))
    writer.layer("drop6", "Dropout", blob, blob, dropout_param={"dropout_ratio": 0.5})
    writer.relu(writer.conv("fc7", blob, options.channels(1024), 1))
    filler = {"type": "constant", "value": 20}
    params = {"across_spatial": False, "scale_filler": filler, "channel_shared": False}
    writer.layer("conv4_3_norm", "Normalize", "conv4_3", norm_param=params)
    writer.last = "fc7"
    return writer


def _extra(writer: Writer, name: str, squeeze: int, count: int, **params) -> None:
    """Write a pair of extra convolutions behind the last ones: 1x1 and 3x3."""
    blob = writer.relu(writer.conv(f"{name}_1", writer.last, writer.options.channels(squeeze), 1))
    writer.last = writer.relu(writer.conv(f"{name}_2", blob, writer.options.channels(count), **params))


def _vgg_sources(blobs, edges, steps) -> list[Source]:
    """Return sources as the paper spaces them: ratio 3 in the middle only."""
    few = {0, len(blobs) - 2, len(blobs) - 1}
    rows = zip(blobs, edges, edges[1:], steps)
    return [
        Source(blob, (low,), high, (2,) if index in few else (2, 3), step)
        for index, (blob, low, high, step) in enumerate(rows)
    ]


def mobilenet_ssd(options: Options | None = None, *, merged: bool = False, **changes) -> str:
    """MobileNet-SSD: depthwise convolutions by `group`, heads whose layers are not called like their blobs.

    Args:
        options: of the net.
        merged: leave BatchNorm and Scale out, as a deployed model has them in its convolutions.
        **changes: fields of Options.
    """
    options = replace(options or Options(), **changes)
    writer = Writer(options)

    def block(name, blob, count, kernel=3, **params):
        writer.conv(name, blob, count, kernel, bias_term=merged, **params)
        return writer.relu(name if merged else writer.norm(name))

    channels = options.channels(32)
    blob = block("conv0", writer.start("MobileNet-SSD"), channels, stride=2)
    strided = {2, 4, 6, 12}
    for index, count in enumerate((64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024), 1):
        blob = block(f"conv{index}/dw", blob, channels, group=channels, stride=2 if index in strided else 1)
        channels = options.channels(count)
        blob = block(f"conv{index}", blob, channels, 1)
    for index, count in zip((14, 15, 16, 17), (512, 256, 256, 128)):
        blob = block(f"conv{index}_1", blob, options.channels(count // 2), 1)
        blob = block(f"conv{index}_2", blob, options.channels(count), stride=2)
    blobs = ("conv11", "conv13", "conv14_2", "conv15_2", "conv16_2", "conv17_2")
    edges = (60, 105, 150, 195, 240, 285, 300)
    sources = [
        Source(blob, (low,), high if index else None, (2, 3) if index else (2,), 16 << index)
        for index, (blob, low, high) in enumerate(zip(blobs, edges, edges[1:]))
    ]
    sources[-1] = replace(sources[-1], step=300)
    heads(writer, sources, suffix="_new")
    return writer.text()


def squeezenet_ssd(options: Options | None = None, **changes) -> str:
    """SqueezeNet-SSD: fire modules (Concat of 1x1 and 3x3), pooling that rounds up."""
    options = replace(options or Options(), **changes)
    writer = Writer(options)
    blob = writer.relu(writer.conv("conv1", writer.start("SqueezeNet-SSD"), options.channels(64), stride=2))
    for index, (squeeze, expand) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256), (96, 384)), 2
    ):
        if index in (2, 4, 6, 10):
            blob = writer.pool(f"pool{index}", blob, 3)
        name = f"fire{index}"
        inner = writer.relu(writer.conv(f"{name}/squeeze1x1", blob, options.channels(squeeze), 1))
        sides = [
            writer.relu(
                writer.conv(f"{name}/expand{kernel}x{kernel}", inner, options.channels(expand), kernel)
            )
            for kernel in (1, 3)
        ]
        blob = writer.layer(f"{name}/concat", "Concat", sides)
    writer.last = blob
    for index in (12, 13, 14):
        _extra(writer, f"conv{index}", 128, 256, stride=2)
    blobs = ("fire5/concat", "fire9/concat", "fire10/concat", "conv12_2", "conv13_2", "conv14_2")
    heads(writer, _vgg_sources(blobs, (21, 45, 99, 153, 207, 261, 315), (8, 16, 32, 64, 100, 300)))
    return writer.text()


def mobilenet_v2_ssdlite(options: Options | None = None, **changes) -> str:
    """MobileNetV2-SSDLite: ReLU6, residual Eltwise, depthwise heads, scores by Sigmoid.

    For 600 pixels and more: OpenCV computes a padded depthwise convolution on a 1x1 map wrongly.
    """
    options = replace(options or Options(size=(600, 600)), **changes)
    writer = Writer(options)
    channels = options.channels(32)
    writer.conv("conv1", writer.start("MobileNetV2-SSDLite"), channels, stride=2, bias_term=False)
    blob, index = writer.relu(writer.norm("conv1"), "ReLU6"), 0
    for factor, count, repeats, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            index += 1
            blob = _inverted(writer, f"block{index}", blob, factor, count, 1 if repeat else stride)
    sources = ["block14/expand"]
    sources.append(_lite(writer, "conv_last", blob, 1280, 1))
    for number, count in enumerate((512, 256, 256, 128), 1):
        name = f"extra{number}"
        blob = _lite(writer, f"{name}/squeeze", sources[-1], count // 2, 1)
        blob = depthwise(writer, f"{name}/depthwise", blob, writer.channels_of[blob], 2)
        sources.append(_lite(writer, name, blob, count, 1))
    rows = _vgg_sources(sources, (60, 105, 150, 195, 240, 285, 300), (16, 32, 64, 128, 256, 600))
    heads(writer, rows, lite=True, sigmoid=True)
    return writer.text()


def _lite(writer: Writer, name: str, bottom: str, count: int, kernel: int) -> str:
    """Write convolution, BatchNorm, Scale, ReLU6."""
    writer.conv(name, bottom, writer.options.channels(count), kernel, bias_term=False)
    return writer.relu(writer.norm(name), "ReLU6")


def _inverted(writer: Writer, name: str, bottom: str, factor: int, count: int, stride: int) -> str:
    """Write an inverted residual block."""
    channels, blob = writer.channels_of.get(bottom) or writer.channels_of[f"{bottom}/conv"], bottom
    inner, count = channels * factor, writer.options.channels(count)
    if factor > 1:
        writer.conv(f"{name}/expand", blob, inner, 1, bias_term=False)
        blob = writer.relu(writer.norm(f"{name}/expand"), "ReLU6")
    blob = depthwise(writer, f"{name}/depthwise", blob, inner, stride)
    blob = writer.norm(writer.conv(f"{name}/conv", blob, count, 1, bias_term=False))
    if stride == 1 and channels == count:
        return writer.layer(name, "Eltwise", [bottom, blob])
    return blob


def resnet_ssd(options: Options | None = None, *, depths=(2, 2, 2, 2), **changes) -> str:
    """ResNet-SSD: bottlenecks with projection shortcuts, BatchNorm and Scale, Eltwise sums.

    Args:
        options: of the net.
        depths: blocks of each stage; (3, 4, 6, 3) is ResNet-50.
        **changes: fields of Options.
    """
    options = replace(options or Options(), **changes)
    writer = Writer(options)
    writer.conv("conv1", writer.start("ResNet-SSD"), options.channels(64), 7, stride=2)
    blob = writer.pool("pool1", writer.relu(writer.norm("conv1", 1e-4)), 3)
    for stage, (count, depth) in enumerate(zip((256, 512, 1024, 2048), depths), 2):
        for index in range(depth):
            stride = 2 if stage > 2 and not index else 1
            blob = _bottleneck(writer, f"res{stage}{'abcdefgh'[index]}", blob, count, stride, not index)
    writer.last = blob
    for index in (6, 7, 8):
        _extra(writer, f"conv{index}", 128, 256, stride=2)
    middle = f"res3{'abcdefgh'[depths[1] - 1]}"
    blobs = (middle, f"res4{'abcdefgh'[depths[2] - 1]}", blob, "conv6_2", "conv7_2", "conv8_2")
    heads(writer, _vgg_sources(blobs, (30, 60, 111, 162, 213, 264, 315), (8, 16, 32, 64, 100, 300)))
    return writer.text()


def _bottleneck(writer: Writer, name: str, bottom: str, count: int, stride: int, project: bool) -> str:
    """Write a residual block of three convolutions."""
    inner, count = writer.options.channels(count // 4), writer.options.channels(count)
    shortcut = bottom
    if project:
        shortcut = writer.conv(f"{name}_branch1", bottom, count, 1, stride=stride, bias_term=False)
        writer.norm(shortcut)
    blob = bottom
    for part, channels, kernel in (("a", inner, 1), ("b", inner, 3), ("c", count, 1)):
        step = {"stride": stride} if part == "a" else {}
        blob = writer.conv(f"{name}_branch2{part}", blob, channels, kernel, bias_term=False, **step)
        writer.norm(blob)
        if part != "c":
            writer.relu(blob)
    return writer.relu(writer.layer(name, "Eltwise", [shortcut, blob]))


def res10_ssd(options: Options | None = None, **changes) -> str:
    """A small residual face detector: BatchNorm and Scale directly on `data`, boxes clipped in the output."""
    default = Options(num_classes=2, output=Output(clip=True), priors=Priors(step=True))
    options = replace(options or default, **changes)
    writer = Writer(options)
    writer.start("res10")
    writer.layer("data_bn", "BatchNorm", "data")
    blob = writer.layer("data_scale", "Scale", "data_bn", "data_bn", scale_param={"bias_term": True})
    writer.conv("conv1_h", blob, options.channels(32), 7, stride=2)
    blob = writer.pool("conv1_pool", writer.relu(writer.norm("conv1_h")), 3)
    for index, count in enumerate((32, 128, 256, 256), 1):
        blob = _basic(writer, f"layer_{64 << index}_1", blob, count, 2 if index in (2, 3) else 1)
    writer.last = writer.relu(writer.norm(blob))
    last = writer.last
    for index in (6, 7, 8):
        _extra(writer, f"conv{index}", 128, 256, stride=2)
    params = {"across_spatial": False, "channel_shared": False}
    normed = writer.layer("conv4_3_norm", "Normalize", "layer_256_1/sum", norm_param=params)
    blobs = (normed, last, "conv6_2", "conv7_2", "conv8_2")
    heads(writer, _vgg_sources(blobs, (30, 60, 111, 162, 213, 264), (8, 16, 32, 64, 100)))
    return writer.text()


def _basic(writer: Writer, name: str, bottom: str, count: int, stride: int) -> str:
    """Write a residual block of two convolutions with a projection."""
    count = writer.options.channels(count)
    blob = writer.conv(f"{name}/conv1", bottom, count, stride=stride, bias_term=False)
    blob = writer.conv(f"{name}/conv2", writer.relu(writer.norm(blob)), count, bias_term=False)
    side = writer.conv(f"{name}/expand", bottom, count, 1, stride=stride, bias_term=False)
    return writer.layer(f"{name}/sum", "Eltwise", [blob, side])


ARCHITECTURES = {
    "vgg_ssd300": vgg_ssd300,
    "vgg_ssd512": vgg_ssd512,
    "mobilenet_ssd": mobilenet_ssd,
    "mobilenet_ssd_merged": lambda options=None, **changes: mobilenet_ssd(options, merged=True, **changes),
    "squeezenet_ssd": squeezenet_ssd,
    "mobilenet_v2_ssdlite": mobilenet_v2_ssdlite,
    "resnet_ssd": resnet_ssd,
    "res10_ssd": res10_ssd,
    "everything": everything,
    "two_outputs": two_outputs,
}
