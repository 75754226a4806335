import pytest

from common.errors import ConversionError
from tools.caffe_converter.net import read_layers, read_net

INPUT = 'input: "data" input_shape { dim: 8 dim: 3 dim: 30 dim: 40 }\n'
TEST, TRAIN = "include { phase: TEST }", "include { phase: TRAIN }"


def layer(name, kind, bottoms="", tops=None, more=""):
    """Return a layer as text; bottoms and tops are blobs apart by blanks."""
    lines = "".join(f' bottom: "{blob}"' for blob in bottoms.split())
    lines += "".join(f' top: "{blob}"' for blob in (name if tops is None else tops).split())
    return f'layer {{ name: "{name}" type: "{kind}"{lines} {more} }}\n'


@pytest.fixture
def read(tmp_path):
    """Read a net from text."""

    def read(text, **options):
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return read_net(path, **options)

    return read


@pytest.fixture
def refuse(read):
    """Read a net from text that is to be refused; return the message."""

    def refuse(text, **options):
        with pytest.raises(ConversionError) as caught:
            read(text, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert "net.prototxt" in message
        return message

    return refuse


def names(net):
    return [each.name for each in net.layers]


def test_real_net(shared_data):
    net = read_net(shared_data / "caffe" / "yufacedetectnet-open-v1.prototxt")
    assert net.inputs == {"data": (1, 3, 240, 320)}
    assert net.outputs == ("detection_out",)
    assert len(net.layers) == 76
    assert net.layers[-1].where.endswith(":1048: layer detection_out (DetectionOutput)")


@pytest.mark.parametrize(
    "text",
    [
        INPUT,
        'input: "data" input_dim: 8 input_dim: 3 input_dim: 30 input_dim: 40\n',
        layer("data", "Input", more="input_param { shape { dim: 8 dim: 3 dim: 30 dim: 40 } }"),
        layer(
            "d",
            "AnnotatedData",
            "",
            "data label",
            "transform_param { resize_param { height: 30 width: 40 } }",
        ),
        layer("d", "Data", "", "data label", "transform_param { crop_h: 30 crop_w: 40 crop_size: 0 }"),
        layer("d", "ImageData", "", "data", "image_data_param { new_height: 30 new_width: 40 }"),
        layer(
            "d",
            "MemoryData",
            "",
            "data l",
            "memory_data_param { channels: 3 height: 30 width: 40 batch_size: 4 }",
        ),
        layer("d", "DummyData", "", "data", "dummy_data_param { num: 2 channels: 3 height: 30 width: 40 }"),
    ],
)
def test_every_kind_of_input_gives_its_shape_with_a_batch_of_one(read, text):
    net = read(text + layer("relu", "ReLU", "data"))
    assert net.inputs == {"data": (1, 3, 30, 40)}
    assert (names(net), net.outputs) == (["relu"], ("relu",))


def test_crop_comes_after_resizing_and_grey_has_one_channel(read):
    more = "transform_param { resize_param { height: 60 width: 70 } crop_size: 50 force_gray: true }"
    assert read(layer("d", "Data", "", "data", more) + layer("r", "ReLU", "data")).inputs == {
        "data": (1, 1, 50, 50)
    }


def test_data_shape_replaces_the_picture_only(read):
    text = 'input: "info" input_shape { dim: 1 dim: 3 }' + INPUT + layer("x", "Concat", "data info")
    assert read(text, data_shape=(500, 700)).inputs == {"info": (1, 3), "data": (1, 3, 500, 700)}


def test_input_without_size_needs_data_shape(read, refuse):
    for text in ('input: "data"', layer("data", "Input"), layer("data", "Data", "", "data label")):
        text += layer("r", "ReLU", "data")
        assert "--data-shape" in refuse(text)
        assert read(text, data_shape=(32, 48)).inputs == {"data": (1, 3, 32, 48)}


def test_several_inputs_stay_and_unused_ones_go(read):
    text = layer("in", "Input", "", "a b c", "input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } }")
    net = read(text + layer("sum", "Eltwise", "a c"))
    assert net.inputs == {"a": (1, 4, 8, 8), "c": (1, 4, 8, 8)}
    assert net.outputs == ("sum",)


@pytest.mark.parametrize(
    ("more", "there"),
    [
        ("", True),
        (TEST, True),
        (TRAIN, False),
        (f"{TRAIN} {TEST}", True),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("include { min_level: 2 }", False),
        ("include { min_level: 1 max_level: 1 }", True),
        ("include { max_level: 0 }", False),
        ('include { stage: "deploy" }', True),
        ('include { stage: "deploy" stage: "other" }', False),
        ('include { not_stage: "deploy" }', False),
        ('exclude { not_stage: "other" phase: TEST }', False),
        ("phase: TRAIN", True),  # a layer's own phase is no rule
    ],
)
def test_rules_of_phase_level_and_stage(read, more, there):
    state = 'state { phase: TRAIN level: 1 stage: "deploy" stage: "x" }\n'  # the phase is always TEST here
    net = read(state + INPUT + layer("always", "ReLU", "data") + layer("ruled", "ReLU", "data", None, more))
    assert ("ruled" in names(net)) is there


def test_older_layers_become_todays(read):
    text = (
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
        'layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1\n'
        '  convolution_param { num_output: 4 kernel_size: 3 } param: "w" }\n'
        'layers { name: "r" type: RELU bottom: "c" top: "c" }\n'
        'layers { name: "ip" type: INNER_PRODUCT bottom: "c" top: "ip" inner_product_param { num_output: 2 } }\n'
        'layers { name: "l" type: LRN bottom: "c" top: "l" } layers { name: "t" type: TANH bottom: "c" top: "t" }\n'
        'layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "data" top: "s" include { phase: TRAIN } }\n'
    )
    net = read(text)
    assert [each.type for each in net.layers] == ["Convolution", "ReLU", "InnerProduct", "LRN", "TanH"]
    assert net.layers[0].message.convolution_param.num_output == 4
    assert net.layers[0].message.param[0].name == "w"
    assert [each.line for each in net.layers] == [2, 4, 5, 6, 6]
    assert net.outputs == ("ip", "l", "t")


def test_every_older_type_has_a_name_of_today(tmp_path):
    from tools.caffe_converter.schema import message_class
    from tools.caffe_converter.v1 import upgrade_layer

    kinds = message_class("V1LayerParameter").DESCRIPTOR.enum_types_by_name["LayerType"].values_by_name
    types = {
        kind: upgrade_layer(message_class("V1LayerParameter")(type=value.number), "x").type
        for kind, value in kinds.items()
        if kind != "NONE"
    }
    assert types["SIGMOID_CROSS_ENTROPY_LOSS"] == "SigmoidCrossEntropyLoss"
    assert types["HDF5_DATA"] == "HDF5Data"
    assert types["ELTWISE"] == "Eltwise"
    assert {types[kind] for kind in ("ABSVAL", "ARGMAX", "BNLL", "MVN", "IM2COL")} == {
        "AbsVal",
        "ArgMax",
        "BNLL",
        "MVN",
        "Im2col",
    }


def test_readers_follow_versions_of_a_blob(read):
    text = INPUT + layer("c", "Convolution", "data", "x") + layer("before", "ReLU", "x")
    text += layer("r", "ReLU", "x", "x") + layer("after", "ReLU", "x") + layer("r2", "ReLU", "after", "after")
    net = read(text)
    assert net.readers(-1, "data") == (0,)
    assert net.readers(0, "x") == (1, 2)  # not the one behind the in-place layer
    assert net.readers(2, "x") == (3,)
    assert net.readers(4, "after") == ()
    assert net.outputs == ("before", "after")


def test_evaluation_layers_go_and_their_input_is_the_output(read):
    data = layer(
        "d", "AnnotatedData", "", "data label", "transform_param { resize_param { height: 9 width: 9 } }"
    )
    text = data + layer("loc", "Convolution", "data") + layer("prior", "PriorBox", "loc data")
    text += layer("out", "DetectionOutput", "loc loc prior label data") + layer(
        "slice", "Split", "label", "l1 l2"
    )
    text += layer("eval", "DetectionEvaluate", "out label") + layer("acc", "Accuracy", "loc l1")
    net = read(text + layer("quiet", "Silence", "l2", ""))
    assert names(net) == ["loc", "prior", "out"]
    assert net.layers[-1].bottoms == ("loc", "loc", "prior")
    assert net.outputs == ("out",)


def test_loss_beside_an_output_goes(read):
    data = layer("d", "Data", "", "data label", "transform_param { crop_size: 9 }")
    text = data + layer("ip", "InnerProduct", "data") + layer("loss", "SoftmaxWithLoss", "ip label")
    net = read(text + layer("prob", "Softmax", "ip"))
    assert (names(net), net.outputs) == (["ip", "prob"], ("prob",))


def test_silenced_layers_go(read):
    text = INPUT + layer("s", "Slice", "data", "a b") + layer("deep", "ReLU", "b") + layer("ra", "ReLU", "a")
    net = read(text + layer("quiet", "Silence", "deep", ""))
    assert (names(net), net.outputs) == (["s", "ra"], ("ra",))


def test_equal_layer_names_are_told(read, caplog):
    net = read(INPUT + layer("r", "ReLU", "data", "a") + layer("r", "ReLU", "a", "b"))
    assert len(net.layers) == 2
    assert "several layers are called r" in caplog.text


def test_training_net_is_refused_with_the_layer(refuse):
    loss = layer("mbox_loss", "MultiBoxLoss", "loc loc loc label")
    data = layer(
        "d", "AnnotatedData", "", "data label", "transform_param { resize_param { height: 9 width: 9 } }"
    )
    message = refuse(data + layer("loc", "Convolution", "data") + loss)
    assert "net.prototxt:3: layer mbox_loss (MultiBoxLoss): a training net" in message
    data = layer("d", "AnnotatedData", "", "data label", TRAIN)
    message = refuse(data + layer("loc", "Convolution", "data") + loss)
    assert "net.prototxt:1: layer d (AnnotatedData)" in message
    assert "not in the TEST phase: a training net: give the deploy.prototxt" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("r", "ReLU", "x"), "no input"),
        (
            INPUT + layer("r", "ReLU", "dat"),
            ":2: layer r (ReLU): reads 'dat', which no layer before it makes; did you",
        ),
        (INPUT + layer("a", "ReLU", "b") + layer("b", "ReLU", "data"), ":2: layer a (ReLU): reads 'b'"),
        (
            INPUT + layer("t", "ReLU", "data", None, TRAIN) + layer("r", "ReLU", "t"),
            "layer t (ReLU) does, but not in",
        ),
        (INPUT + layer("d", "Data", "", "x l") + layer("r", "Eltwise", "data l"), "reads 'l' of"),
        (INPUT + layer("a", "ReLU", "data", "x") + layer("b", "ReLU", "data", "x"), "another layer has made"),
        (INPUT + layer("a", "Split", "data", "x x"), "another layer has made"),
        (INPUT + layer("a", "ReLU", "data", ""), "no top"),
        (INPUT + 'layer { name: "a" bottom: "data" top: "a" }', "no type"),
        (INPUT + layer("a", "ReLU", "data", None, TEST + " exclude { phase: TRAIN }"), "include and exclude"),
        ('layers { name: "a" }', "has no type"),
        (INPUT + INPUT + layer("a", "ReLU", "data"), "second input 'data'"),
        (
            'input: "a" input: "b" input_dim: 1 ' + layer("r", "ReLU", "a"),
            "1 input_dim (four to an input) for 2",
        ),
        ('input: "a" input_shape { dim: 1 } input_dim: 1 ' + layer("r", "ReLU", "a"), "both input_shape and"),
        (
            'input: "a" input_shape { dim: 1 dim: -3 dim: 8 dim: 8 }' + layer("r", "ReLU", "a"),
            "1 x -3 x 8 x 8",
        ),
        (
            'input: "a" input_shape { dim: 1 dim: 3 dim: 99999 dim: 8 }' + layer("r", "ReLU", "a"),
            "from 1 to 16384",
        ),
        (
            'input: "a" input_shape { dim: 1 dim: 99 dim: 9999 dim: 9999 }' + layer("r", "ReLU", "a"),
            "too large",
        ),
        (layer("i", "Input", "", "a b c", "input_param { shape {} shape {} }"), "2 shapes, expected one or"),
        (INPUT + layer("quiet", "Silence", "data", ""), "no layer between input and output"),
        (INPUT + layer("r\nx\x85", "ReLU", "y").replace("\n", "\\n", 1), "layer r\\nx\\x85 (ReLU)"),
    ],
)
def test_nets_that_cannot_be_are_refused_with_layer_and_line(refuse, text, message):
    assert message in refuse(text)


def test_data_shape_needs_a_picture_and_a_possible_size(refuse):
    text = 'input: "a" input_shape { dim: 1 dim: 3 }' + layer("r", "ReLU", "a")
    assert "no input has four axes" in refuse(text, data_shape=(3, 3))
    assert "--data-shape" in refuse(INPUT + layer("r", "ReLU", "data"), data_shape=(0, 5))


def test_too_many_layers_are_refused(refuse):
    assert "5001 layers" in refuse(INPUT + layer("r", "ReLU", "data", "data") * 5001)


def test_layers_of_all_phases_are_there_for_the_training_data(tmp_path):
    path = tmp_path / "train.prototxt"
    path.write_text(layer("d", "Data", "", "data", TRAIN) + layer("r", "ReLU", "data"))
    assert [each.type for each in read_layers(path)] == ["Data", "ReLU"]
