"""Writes prototxts for tests: layers, and the heads that every SSD has; prototxts.py makes whole nets with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace


class Word(str):
    """A value of an enum, written without quotes."""


@dataclass(frozen=True)
class Priors:
    """Options of PriorBox layers; None leaves a field out.

    Attributes:
        min_sizes: of each source, in pixels, several to a source allowed; None takes the net's own.
        max_sizes: whether to write max_size.
        ratios: of every source; None takes the net's own.
        step: whether to write the step.
        offset: of the centres.
        flip: of the ratios.
        clip: of the boxes to the picture.
        variances: none, one or four numbers.
        other_variances: of every second source; None takes `variances` there too.
        fractional: keep fractions of sizes (Caffe cuts them off, OpenCV does not).
    """

    min_sizes: tuple[tuple[float, ...], ...] | None = None
    max_sizes: bool = True
    ratios: tuple[float, ...] | None = None
    step: bool = True
    offset: float | None = 0.5
    flip: bool | None = True
    clip: bool | None = False
    variances: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)
    other_variances: tuple[float, ...] | None = None
    fractional: bool = False


@dataclass(frozen=True)
class Output:
    """Options of the DetectionOutput layer; None leaves a field out."""

    nms_threshold: float | None = 0.45
    top_k: int | None = 400
    eta: float | None = None
    keep_top_k: int | None = 200
    confidence_threshold: float | None = 0.01
    background_label_id: int | None = 0
    code_type: str | None = "CENTER_SIZE"
    share_location: bool | None = True
    clip: bool | None = None
    variance_encoded_in_target: bool | None = None


@dataclass(frozen=True)
class Options:
    """Options of a net.

    Attributes:
        size: (height, width) of the picture, in pixels.
        num_classes: with the background, as Caffe counts.
        width: factor of the backbone's channels.
        priors: options of PriorBox.
        output: options of DetectionOutput; None leaves the layer out.
    """

    size: tuple[int, int] = (300, 300)
    num_classes: int = 21
    width: float = 1.0
    priors: Priors = Priors()
    output: Output | None = Output()

    def channels(self, count: int) -> int:
        """Return a number of channels for this width, a multiple of 4."""
        return max(8, round(count * self.width / 4) * 4)


@dataclass(frozen=True)
class Source:
    """A feature map with heads: blob, sizes in 1/300 of the shorter side, ratios, step in pixels."""

    blob: str
    sizes: tuple[float, ...]
    max_size: float | None
    ratios: tuple[float, ...]
    step: int


def write_fields(fields: dict, indent: str = "") -> str:
    """Return fields as prototxt text: dictionaries are messages, lists are repeated, None is left out."""
    lines = []
    for name, value in fields.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, dict):
                lines.append(f"{indent}{name} {{\n{write_fields(item, indent + '  ')}{indent}}}\n")
            elif item is not None:
                lines.append(f"{indent}{name}: {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, Word):
        return f'"{value}"'
    return str(value)


@dataclass
class Writer:
    """A prototxt while it is written; methods return the blob that the layer makes.

    Attributes:
        options: of the net.
        parts: the text so far.
        channels_of: blob of a convolution -> its channels.
        last: blob that the next extra layer continues from.
    """

    options: Options
    parts: list[str] = field(default_factory=list)
    channels_of: dict[str, int] = field(default_factory=dict)
    last: str = ""

    def start(self, name: str) -> str:
        """Write name and input."""
        shape = {"dim": [1, 3, *self.options.size]}
        self.parts.append(write_fields({"name": name, "input": "data", "input_shape": shape}))
        return "data"

    def layer(self, name: str, kind: str, bottoms: str | Sequence[str], tops=None, **params) -> str:
        """Write a layer; the top is called like the layer where nothing else is said."""
        bottoms = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        tops = [name] if tops is None else [tops] if isinstance(tops, str) else list(tops)
        fields = {"name": name, "type": kind, "bottom": bottoms, "top": tops, **params}
        self.parts.append(write_fields({"layer": fields}))
        return tops[0]

    def conv(self, name: str, bottom: str, count: int, kernel: int = 3, *, top=None, **params) -> str:
        """Write a convolution that keeps the size where nothing else is said; `count` is taken as it is."""
        params = {"num_output": count, "pad": (kernel - 1) // 2 or None, "kernel_size": kernel, **params}
        self.channels_of[top or name] = count
        return self.layer(name, "Convolution", bottom, top, convolution_param=params)

    def relu(self, blob: str, kind: str = "ReLU") -> str:
        """Write an activation in place."""
        return self.layer(f"{blob}/relu", kind, blob, blob)

    def norm(self, blob: str, eps: float | None = None) -> str:
        """Write BatchNorm and Scale in place."""
        self.layer(f"{blob}/bn", "BatchNorm", blob, blob, batch_norm_param={"eps": eps} if eps else None)
        return self.layer(f"{blob}/scale", "Scale", blob, blob, scale_param={"bias_term": True})

    def pool(self, name: str, bottom: str, kernel: int = 2, stride: int = 2, pad: int | None = None) -> str:
        """Write a max pooling."""
        params = {"pool": Word("MAX"), "kernel_size": kernel, "stride": stride, "pad": pad}
        return self.layer(name, "Pooling", bottom, pooling_param=params)

    def text(self) -> str:
        """Return the prototxt."""
        return "".join(self.parts)


def prior_count(source: Source, priors: Priors) -> int:
    """Return the number of default boxes to a cell, by Caffe's rule (ratio 1 once, flips beside)."""
    ratios = {1.0}
    for ratio in source.ratios:
        ratios |= {float(ratio)} | ({1 / ratio} if priors.flip is not False else set())
    return len(source.sizes) * (len(ratios) + (source.max_size is not None))


def _source(source: Source, index: int, options: Options) -> Source:
    """Apply the options of default boxes to one source and turn sizes into pixels."""
    priors, unit = options.priors, min(options.size) / 300
    own = priors.min_sizes[index % len(priors.min_sizes)] if priors.min_sizes else None
    sizes = own or [size * unit for size in source.sizes]
    largest = source.max_size * unit if source.max_size and priors.max_sizes else None
    if largest and own:
        largest = max(own) * 1.5
    cut = float if priors.fractional else int
    return replace(
        source,
        sizes=tuple(cut(size) for size in sizes),
        max_size=cut(largest) if largest else None,
        ratios=source.ratios if priors.ratios is None else priors.ratios,
    )


def _prior_box(writer: Writer, source: Source, index: int) -> str:
    """Write the PriorBox layer of a source."""
    priors = writer.options.priors
    other = index % 2 and priors.other_variances is not None
    largest = source.max_size
    params = {
        "min_size": list(source.sizes),
        "max_size": [largest + 2 * number for number in range(len(source.sizes))] if largest else None,
        "aspect_ratio": list(source.ratios),
        "flip": priors.flip,
        "clip": priors.clip,
        "variance": list(priors.other_variances if other else priors.variances),
        "step": source.step if priors.step else None,
        "offset": priors.offset,
    }
    blobs = [source.blob, "data"]
    return writer.layer(f"{source.blob}_mbox_priorbox", "PriorBox", blobs, prior_box_param=params)


def _head(writer: Writer, source: Source, kind: str, count: int, lite: bool, suffix: str) -> str:
    """Write one head (kind "loc" or "conf") of a source: convolution, Permute, Flatten."""
    name = f"{source.blob}_mbox_{kind}"
    blob = source.blob
    if lite:
        blob = depthwise(writer, f"{name}/depthwise", blob, writer.channels_of[blob], 1)
    kernel = 1 if lite or suffix else 3
    blob = writer.conv(name + suffix, blob, count, kernel, top=name)
    blob = writer.layer(f"{name}_perm", "Permute", blob, permute_param={"order": [0, 2, 3, 1]})
    return writer.layer(f"{name}_flat", "Flatten", blob, flatten_param={"axis": 1})


def heads(writer: Writer, sources: Iterable[Source], *, lite=False, suffix="", sigmoid=False) -> str:
    """Write heads, their joining, and the DetectionOutput.

    Args:
        writer: whose options are used.
        sources: in order.
        lite: depthwise convolutions before the heads (sources are convolutions then).
        suffix: of the names of the heads' layers, which then differ from their tops'; such heads are 1x1.
        sigmoid: scores by Sigmoid, else by Softmax.
    """
    options, rows = writer.options, {"loc": [], "conf": [], "priorbox": []}
    for index, source in enumerate(sources):
        source = _source(source, index, options)
        count = prior_count(source, options.priors)
        rows["loc"].append(_head(writer, source, "loc", 4 * count, lite, suffix))
        rows["conf"].append(_head(writer, source, "conf", options.num_classes * count, lite, suffix))
        rows["priorbox"].append(_prior_box(writer, source, index))
    for kind, blobs in rows.items():
        axis = 2 if kind == "priorbox" else 1
        writer.layer(f"mbox_{kind}", "Concat", blobs, concat_param={"axis": axis})
    scores = _scores(writer, sigmoid)
    return detection_output(writer, ["mbox_loc", scores, "mbox_priorbox"])


def _scores(writer: Writer, sigmoid: bool) -> str:
    """Write the layers that make scores of the joined confidences."""
    if sigmoid:
        return writer.layer("mbox_conf_sigmoid", "Sigmoid", "mbox_conf")
    shape = {"shape": {"dim": [0, -1, writer.options.num_classes]}}
    writer.layer("mbox_conf_reshape", "Reshape", "mbox_conf", reshape_param=shape)
    writer.layer("mbox_conf_softmax", "Softmax", "mbox_conf_reshape", softmax_param={"axis": 2})
    return writer.layer("mbox_conf_flatten", "Flatten", "mbox_conf_softmax", flatten_param={"axis": 1})


def detection_output(writer: Writer, blobs: Sequence[str], name: str = "detection_out") -> str:
    """Write the DetectionOutput layer, or nothing where the options leave it out."""
    options = writer.options.output
    if options is None:
        return ""
    nms = {"nms_threshold": options.nms_threshold, "top_k": options.top_k, "eta": options.eta}
    params = {
        "num_classes": writer.options.num_classes,
        "share_location": options.share_location,
        "background_label_id": options.background_label_id,
        "nms_param": nms,
        "code_type": Word(options.code_type) if options.code_type else None,
        "keep_top_k": options.keep_top_k,
        "confidence_threshold": options.confidence_threshold,
        "clip": options.clip,
        "variance_encoded_in_target": options.variance_encoded_in_target,
    }
    rule = {"phase": Word("TEST")}
    return writer.layer(name, "DetectionOutput", blobs, include=rule, detection_output_param=params)


def depthwise(writer: Writer, name: str, bottom: str, channels: int, stride: int, relu="ReLU6") -> str:
    """Write a depthwise convolution with BatchNorm, Scale and an activation."""
    stride = stride if stride > 1 else None
    writer.conv(name, bottom, channels, group=channels, stride=stride, bias_term=False)
    writer.norm(name)
    return writer.relu(name, relu)
