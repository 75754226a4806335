"""The picture of a graph: boxes, frames and arrows of the DOT text, and graphviz's own reading of it."""

import re
import shutil
import subprocess

import pytest

from symbol.counts import layers
from symbol.detection import DetectionConfig, detection_symbol
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.picture import dot_text
from symbol.presets import network_config, network_names
from symbol.presets.options import NetworkOptions


def text_of(network="ssd7", shape=(96, 96), *, train=False, **options):
    """Return the DOT text of a network, of its training graph or as it detects."""
    config = network_config(network, shape, 3, options=NetworkOptions(**options))
    extras = [feature.layer for feature in config.features if feature.extra is not None]
    if train:
        symbol = training_symbol(heads(config), 3, config.anchors.variances, LossConfig())
        return dot_text(layers(symbol, data=(1, 3, *shape), label=(1, 2, 6)), "a title", extras=extras)
    symbol = detection_symbol(*heads(config), 3, config.anchors.variances, DetectionConfig())
    return dot_text(layers(symbol, data=(1, 3, *shape)), "a title", extras=extras)


def boxes(text):
    """Return {name of a box: (label, colour)}."""
    found = re.findall(r'^ *"([^"]+)" \[label="([^"]*)", fillcolor="(#\w+)"', text, re.M)
    return {name: (label, colour) for name, label, colour in found}


def arrows(text):
    return re.findall(r'"([^"]+)" -> "([^"]+)";', text)


def test_convolution_stands_with_what_follows_it_alone():
    found = boxes(text_of())
    assert found["relu7"][0] == r"relu7\nConvolution 3x3, BatchNorm, relu\n32x2x2"
    assert found["relu1"][0] == r"relu1\nmax pooling 2x2/2, relu\n32x48x48"
    assert "conv7" not in found


def test_heads_of_a_map_stand_in_one_frame():
    text = text_of("vgg16_reduced", (300, 300))
    frame = re.search(r'subgraph "cluster_\d+" \{\s+label="heads of relu4_3".*?\n  \}', text, re.S).group(0)
    assert sorted(boxes(frame)) == sorted(
        f"relu4_3_{name}" for name in ("norm", "scaled", "loc_pred_flat", "cls_pred_flat", "anchors_flat")
    )
    assert r'label="loc_pred_flat\nConvolution 3x3\n16x38x38"' in frame


def test_every_arrow_begins_and_ends_at_a_box_and_all_lead_to_the_end():
    text = text_of("vgg16_reduced", (300, 300), heads="separable", norm="batch")
    found, pairs = boxes(text), arrows(text)
    assert {name for pair in pairs for name in pair} - {"data"} <= set(found)
    reached, ends = {"data"}, {start for start, _ in pairs}
    for _ in found:
        reached |= {end for start, end in pairs if start in reached}
    drawn = {name for name in found if not name.startswith("colour of")}
    assert drawn <= reached
    assert drawn - ends == {"detection"}


def test_parts_have_a_colour_each():
    found = boxes(text_of("vgg16_reduced", (300, 300)))
    names = ("relu1_1", "multi_feat_2_conv_3x3_relu", "relu7_loc_pred_flat", "detection")
    colours = [found[name][1] for name in names]
    assert len(set(colours)) == 4
    assert colours == [found[f"colour of {part}"][1] for part in ("backbone", "extra", "head", "after")]


def test_losses_are_one_box_that_names_its_outputs():
    found = boxes(text_of(train=True))
    label = found["num_negative"][0]
    assert all(name in label for name in ("cls_loss", "loc_loss", "num_positive", "num_negative"))
    assert "label" in {start for start, end in arrows(text_of(train=True)) if end == "num_negative"}


def test_text_is_the_same_twice():
    assert text_of() == text_of()


@pytest.mark.parametrize("network", network_names())
def test_graphviz_reads_every_network(network):
    if not shutil.which("dot"):
        pytest.skip("no graphviz here: apt-get install graphviz")
    text = text_of(network, (300, 320), train=True)
    # -Tcanon reads and writes the text again without laying it out.
    done = subprocess.run(
        ["dot", "-Tcanon"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" -> ") == len(arrows(text))
