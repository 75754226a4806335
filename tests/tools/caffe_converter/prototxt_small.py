"""Small prototxts for tests: every kind of layer in one net, and a net whose outputs are raw."""

from __future__ import annotations

from dataclasses import replace

from prototxt_writer import Options, Source, Word, Writer, heads, write_fields


def everything(options: Options | None = None, **changes) -> str:
    """A small net of every kind of layer that OpenCV computes as Caffe does, with two heads."""
    options = replace(options or Options(size=(64, 96), num_classes=4), **changes)
    writer = Writer(options)
    shape = {"shape": [{"dim": [1, 3, *options.size]}]}
    writer.parts.append(write_fields({"name": "everything"}))
    writer.layer("data", "Input", [], input_param=shape)
    writer.conv(
        "first", "data", 8, kernel_size=None, pad=None, kernel_h=3, kernel_w=5, pad_h=1, pad_w=2, stride=2
    )
    writer.layer("prelu", "PReLU", "first", "first")
    writer.layer("power", "Power", "first", power_param={"power": 2, "scale": 0.1, "shift": 0.5})
    writer.layer("power_linear", "Power", "power", power_param={"scale": -0.5, "shift": 0.25})
    writer.layer("elu", "ELU", "power_linear", elu_param={"alpha": 0.5})
    writer.layer("tanh", "TanH", "elu")
    writer.layer("absval", "AbsVal", "tanh")
    writer.layer("bnll", "BNLL", "absval")
    writer.layer("leaky", "ReLU", "first", relu_param={"negative_slope": 0.1})
    pair = ["bnll", "leaky"]
    writer.layer("sum", "Eltwise", pair, eltwise_param={"operation": Word("SUM"), "coeff": [0.5, -1.5]})
    writer.layer("product", "Eltwise", pair, eltwise_param={"operation": Word("PROD")})
    writer.layer("largest", "Eltwise", pair, eltwise_param={"operation": Word("MAX")})
    writer.layer("joined", "Concat", ["sum", "product", "largest"])
    writer.layer("lrn", "LRN", "joined", lrn_param={"local_size": 3, "alpha": 0.5, "beta": 0.75})
    writer.conv("grouped", "lrn", 12, group=4, dilation=2, pad=2)
    _everything_shapes(writer)
    sources = [Source("up", (40.0,), 60.0, (2,), 4), Source("merged", (120.0, 150.0), None, (3,), 8)]
    heads(writer, sources)
    return writer.text()


def _everything_shapes(writer: Writer) -> None:
    """Write the layers of `everything` that change shapes, from the blob "grouped"."""
    average = {"pool": Word("AVE"), "kernel_size": 3, "stride": 2, "pad": 1}
    writer.layer("average", "Pooling", "grouped", pooling_param=average)
    writer.layer("slices", "Slice", "average", ["low", "high"], slice_param={"axis": 1, "slice_point": [4]})
    writer.layer("split", "Split", "high", ["high_a", "high_b"])
    writer.layer("scaled", "Scale", "high_b")
    writer.layer("merged", "Concat", ["low", "high_a", "scaled"], concat_param={"axis": -3})
    filters = {"num_output": 10, "kernel_size": 4, "stride": 2, "pad": 1, "group": 2, "bias_term": True}
    writer.layer("deconv", "Deconvolution", "merged", convolution_param=filters)
    writer.layer("up", "Crop", ["deconv", "grouped"], crop_param={"axis": 2, "offset": 0})
    whole = {"pool": Word("AVE"), "global_pooling": True}
    writer.layer("global", "Pooling", "merged", pooling_param=whole)
    writer.layer("dense", "InnerProduct", "global", inner_product_param={"num_output": 6})
    writer.layer("prob", "Softmax", "dense")


def two_outputs(options: Options | None = None, **changes) -> str:
    """A small net without DetectionOutput: scores (1, A, C) and boxes (1, A, 4) come out raw."""
    options = replace(options or Options(size=(48, 64), num_classes=2), **changes)
    writer = Writer(options)
    blob = writer.relu(writer.conv("conv1", writer.start("two_outputs"), options.channels(16), stride=2))
    blob = writer.relu(writer.norm(writer.conv("conv2", blob, options.channels(32), stride=2)))
    for name, count in (("scores", options.num_classes), ("boxes", 4)):
        head = writer.conv(f"{name}_conv", blob, 3 * count)
        head = writer.layer(f"{name}_perm", "Permute", head, permute_param={"order": [0, 2, 3, 1]})
        top = name if name == "boxes" else "logits"
        writer.layer(top, "Reshape", head, reshape_param={"shape": {"dim": [0, -1, count]}})
    writer.layer("scores", "Softmax", "logits", softmax_param={"axis": 2})
    return writer.text()
