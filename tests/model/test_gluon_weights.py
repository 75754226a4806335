"""Gluon's parameter files on the graph here: the oracle is the Gluon network itself, run imperatively."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.gluon_weights import imagenet_params, load_gluon_params
from symbol.gluon_network import feature_layers, gluon_block, trace

SIDE = 224


def initialised(name: str):
    """Return Gluon's network with random weights and statistics, and an input with what it makes of it."""
    mx.random.seed(1)
    block = gluon_block(f"gluon:{name}")
    block.initialize(mx.init.Xavier())
    image = mx.nd.random.normal(shape=(1, 3, SIDE, SIDE))
    block(image)
    for parameter in block.collect_params().values():
        if parameter.name.endswith(("running_mean", "running_var", "gamma", "beta")):
            shift = 0.1 * mx.nd.random.uniform(shape=parameter.shape)
            parameter.set_data(parameter.data() + shift)
    return block, image


def last_map(name: str, params, image):
    """Return the coarsest feature map of our graph, run as an inference graph."""
    layer = feature_layers(f"gluon:{name}", 300)[-1]
    symbol = mx.sym.load_json(trace(f"gluon:{name}").json).get_internals()[f"{layer}_output"]
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=image.shape)
    executor.copy_params_from(*params, allow_extra_params=True)
    return executor.forward(is_train=False, data=image)[0]


def pooled(found):
    return mx.nd.mean(found, axis=(2, 3), keepdims=True)


# What Gluon's own code puts on top of the last map.
CLASSIFIERS = {
    "resnet18_v1": lambda block, found: block.output(pooled(found)),
    "resnet18_v2": lambda block, found: block.output(pooled(found)),
    "resnet18_v1b": lambda block, found: block.fc(pooled(found)),
    "se_resnet18_v1": lambda block, found: block.output(pooled(found)),
    "mobilenet0.25": lambda block, found: block.output(pooled(found)),
    "mobilenetv2_0.25": lambda block, found: block.output(pooled(found)),
    "mxnet:mobilenetv2_0.25": lambda block, found: block.output(pooled(found)),
    "densenet121": lambda block, found: block.output(pooled(found)),
    "squeezenet1.1": lambda block, found: block.output(found),
    "shufflenet_v2": lambda block, found: block.output(pooled(found)),
    "hrnet_w18_small_v1_c": lambda block, found: block.classifier(pooled(found)),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gluon_s_classifier_on_our_last_map_gives_gluon_s_classes(name, tmp_path):
    block, image = initialised(name)
    block.save_parameters(str(tmp_path / "weights.params"))
    params = load_gluon_params(tmp_path / "weights.params", f"gluon:{name}")
    found = CLASSIFIERS[name](block, last_map(name, params, image)).asnumpy()
    expected = block(image).asnumpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(
        found.reshape(-1), expected.reshape(-1), rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


def test_map_inside_is_gluon_s_own_output_of_that_stage(tmp_path):
    block, image = initialised("resnet18_v1")
    block.save_parameters(str(tmp_path / "weights.params"))
    params = load_gluon_params(tmp_path / "weights.params", "gluon:resnet18_v1")
    expected = image
    for stage in list(block.features)[:7]:  # convolution, BatchNorm, ReLU, pooling, stages 1 to 3
        expected = stage(expected)
    symbol = mx.sym.load_json(trace("gluon:resnet18_v1").json).get_internals()["stage3_activation1_output"]
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=image.shape)
    executor.copy_params_from(*params, allow_extra_params=True)
    found = executor.forward(is_train=False, data=image)[0]
    assert found.shape == (1, 256, 14, 14)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-3, atol=1e-4)


def save_as(form: str, block, folder):
    """Write a network's weights in one of Gluon's forms and return the file."""
    path = folder / "weights.params"
    if form == "structure":
        block.save_parameters(str(path))
    elif form == "names":
        block.collect_params().save(str(path))
    elif form == "names without prefix":
        block.collect_params().save(str(path), strip_prefix=block.prefix)
    else:
        block.hybridize()
        block(mx.nd.zeros((1, 3, SIDE, SIDE)))
        block.export(str(folder / "net"))
        return folder / "net-0000.params"
    return path


FORMS = ("structure", "names", "exported")


# Some names of dla34 and hrnet do not begin with the network's: Gluon cannot save those without the prefix.
@pytest.mark.parametrize(
    ("name", "form"),
    [("mobilenet0.25", "names without prefix")]
    + [(name, form) for name in ("mobilenet0.25", "hrnet_w18_small_v1_c", "dla34") for form in FORMS],
)
def test_every_form_of_file_gives_the_same_weights(name, form, tmp_path):
    mx.gluon.nn.Conv2D(1, 1)  # the counters of this process do not begin at 0
    block, _ = initialised(name)
    arg_params, aux_params = load_gluon_params(save_as(form, block, tmp_path), f"gluon:{name}")
    graph = trace(f"gluon:{name}")
    theirs = block._collect_params_with_prefix()
    names = {structural: ours for structural, ours in graph.structural.items() if ours}
    assert set(names.values()) == arg_params.keys() | aux_params.keys()
    for structural, ours in names.items():
        found = (arg_params.get(ours) if ours in arg_params else aux_params[ours]).asnumpy()
        np.testing.assert_array_equal(found, theirs[structural].data().asnumpy())


def test_classifier_is_left_out(tmp_path):
    block, _ = initialised("mobilenet0.25")
    block.save_parameters(str(tmp_path / "weights.params"))
    arg_params, _ = load_gluon_params(tmp_path / "weights.params", "gluon:mobilenet0.25")
    assert not [name for name in arg_params if "dense" in name]


def test_half_precision_becomes_float32(tmp_path):
    block, _ = initialised("mobilenet0.25")
    block.cast("float16")
    block.save_parameters(str(tmp_path / "weights.params"))
    arg_params, aux_params = load_gluon_params(tmp_path / "weights.params", "gluon:mobilenet0.25")
    assert {array.dtype for array in (*arg_params.values(), *aux_params.values())} == {np.float32}


@pytest.mark.parametrize(
    ("of", "given_to", "message"),
    [
        ("mobilenet0.25", "mobilenet0.5", "has the shape"),
        ("mobilenet0.25", "resnet18_v1", "not the weights of gluon:resnet18_v1: it has .* lacks"),
        ("mobilenet0.25", "mobilenetv2_0.25", "lacks"),
    ],
)
def test_weights_of_another_network_are_refused(of, given_to, message, tmp_path):
    block, _ = initialised(of)
    block.save_parameters(str(tmp_path / "weights.params"))
    with pytest.raises(CheckpointError, match=message):
        load_gluon_params(tmp_path / "weights.params", f"gluon:{given_to}")


def test_values_that_are_not_finite_are_refused(tmp_path):
    block, _ = initialised("mobilenet0.25")
    parameter = next(iter(block.collect_params().values()))
    parameter.set_data(mx.nd.full(parameter.shape, np.nan))
    block.save_parameters(str(tmp_path / "weights.params"))
    with pytest.raises(CheckpointError, match="conv0_weight holds values that are not finite"):
        load_gluon_params(tmp_path / "weights.params", "gluon:mobilenet0.25")


def published(monkeypatch, tmp_path, name: str):
    """Put a network's random weights where the zoo keeps them, published as what they are; return their file."""
    from common.checksum import Checksum
    from model import zoo

    path = tmp_path / f"{name}.params"
    initialised(name)[0].save_parameters(str(path))
    entry = zoo.find(name)
    entry = dataclasses.replace(entry, checksum=Checksum("sha1", entry.checksum.of(path)))
    monkeypatch.setattr(zoo, "find", lambda asked: entry)
    monkeypatch.setattr(zoo, "local_path", lambda asked, root=tmp_path: tmp_path / asked.params)
    return path


def test_imagenet_weights_come_with_their_preprocessing(monkeypatch, tmp_path):
    path = published(monkeypatch, tmp_path, "mobilenet0.25")
    arg_params, aux_params, mean, std = imagenet_params("gluon:mobilenet0.25")
    assert arg_params.keys() == load_gluon_params(path, "gluon:mobilenet0.25")[0].keys()
    assert len(aux_params) == 54
    assert mean == (123.675, 116.28, 103.53)
    assert std == (58.395, 57.12, 57.375)


def test_imagenet_weights_that_were_changed_are_refused(monkeypatch, tmp_path):
    path = published(monkeypatch, tmp_path, "mobilenet0.25")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="its sha1 is not the one that was published"):
        imagenet_params("gluon:mobilenet0.25")


@pytest.mark.parametrize(
    ("network", "command"),
    [
        ("gluon:mobilenet0.25", "model/download.py mobilenet0.25"),
        ("gluon:mxnet:mobilenetv2_0.25", "model/download.py mxnet:mobilenetv2_0.25"),
        ("gluon:mxnet:resnet18_v1", "model/download.py resnet18_v1"),
    ],
)
def test_weights_that_are_not_here_are_told_the_command(network, command, monkeypatch, tmp_path):
    monkeypatch.setattr("model.zoo.local_path", lambda entry: tmp_path / entry.params)
    with pytest.raises(CheckpointError, match=command):
        imagenet_params(network)


@pytest.mark.parametrize("network", ["vgg16_reduced", "gluon:cifar_resnet20_v1", "my.py"])
def test_networks_without_imagenet_weights_say_so(network):
    with pytest.raises(ConfigError, match="--pretrained imagenet: "):
        imagenet_params(network)
