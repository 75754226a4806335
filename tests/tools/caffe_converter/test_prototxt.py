import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConversionError
from tools.caffe_converter.prototxt import layer_lines, parse_prototxt, read_prototxt

RELU = 'layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }\n'


def parse(text):
    return parse_prototxt(text if isinstance(text, bytes) else text.encode(), "x.prototxt")


def test_fields_are_read_as_stated():
    message = parse(
        'name: "n" input: "data" input_dim: 1 layer { name: "c" convolution_param { pad: 1 pad: 2 } }'
    )
    assert (message.name, list(message.input), list(message.input_dim)) == ("n", ["data"], [1])
    assert list(message.layer[0].convolution_param.pad) == [1, 2]


def test_comments_byte_order_mark_and_windows_lines_are_no_obstacle():
    message = parse(b"\xef\xbb\xbf# first {\r\nlayer { # \"\r\n name: 'a # {' }\r\n")
    assert message.layer[0].name == "a # {"


def test_extension_of_opencv_is_known():
    message = parse("layer { detection_output_param { clip: true } }")
    assert message.layer[0].detection_output_param.clip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layer { nam: 'a' }",
            r"x.prototxt:1:9: .*unknown field 'nam' in LayerParameter; did you mean name\?",
        ),
        (
            "layer {\n  pooling_param {\n    pad_l: 1 } }",
            "x.prototxt:3:5: .*'pad_l' in PoolingParameter; did you mean pad",
        ),
        ("layer { convolution_param { num_output: cls3x } }", "1:41: .*cls3x"),
        ("layer { pooling_param { pool: MEAN } }", "1:31: .*no value named MEAN"),
        ("layer { name: 5 }", "1:15: .*Expected string"),
        ("layer { name: 'a' name: 'b' }", "1:25: .*multiple"),
        ("layer { name: 'a'", 'x.prototxt:1.*Expected "}"'),
        ("layer { name: 'a' }\n{ \"a\": 1 }", "2:1: .*Expected identifier"),
        ("layers { layer { name: 'a' } }", "V0.*upgrade_net_proto_text"),
        ("layer { [google.protobuf.Any]: 1 }", "extensions"),
        ("input_dim: 99999999999999 " + RELU, "1:12: .*out of range"),
        ("input_dim: " + "9" * 100_000 + RELU, "x.prototxt:1:12"),
        (
            "layer { name: 'a' relu_param { negative_slope: nan } }",
            "layer 'a'.relu_param.negative_slope is nan",
        ),
        ("layer { name: 'a' prior_box_param { step: 1e999 } }", "step is inf, expected a finite number"),
        ("layer { name: '\\377' }", "x.prototxt:1:22"),
        ("name: 'only a name'", "no layer in it"),
        (RELU + "layers { name: 'b' type: RELU }", "both `layer` and `layers`"),
        ("", "it is empty"),
        (" \n\t ", "it is empty"),
        ("<!DOCTYPE html><html></html>", "an HTML page"),
        ('{"layer": []}', "it is JSON"),
        ('[{"layer": []}]', "it is JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"\xff\xfel\0a\0", "UTF-8"),
        (b"layer {\n name: '\xe4' }", "x.prototxt:2: not a prototxt in UTF-8"),
        (b"\x0a\x03abc\xa2\x06\x04\x0a\x02\x00\x01", "caffemodel given in its place"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text, message):
    with pytest.raises(ConversionError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_endless_nesting_is_refused():
    with pytest.raises(ConversionError, match="unknown field"):
        parse("layer {" * 100_000)


def test_too_long_a_file_is_refused_before_parsing(tmp_path):
    path = tmp_path / "long.prototxt"
    path.write_bytes(b"layer {}\0" * 200_000)
    with pytest.raises(ConversionError, match="longer than 1 MB.*caffemodel given in its place"):
        read_prototxt(path)


@pytest.mark.parametrize("name", ["none.prototxt", "", "nul\0name", "line\nfeed.prototxt"])
def test_missing_file_or_folder_is_one_line(tmp_path, name):
    with pytest.raises(ConversionError, match="prototxt cannot be read") as caught:
        read_prototxt(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("layer {}\nlayer{}\n\nlayer\n{\n}", [1, 2, 4]),
        ("layer < name: 'layer {' >\n# layer {\nlayer: { relu_param {\n} }", [1, 3]),
        ('layer: [ { },\n { name: "}" } ]\nlayer {}', [1, 2, 3]),
        ("input_shape { dim: 1 }\nstate { phase: TEST }\nlayer {}", [3]),
    ],
)
def test_lines_of_layers(text, lines):
    assert len(parse(text).layer) == len(lines)
    assert layer_lines(text, "layer") == lines


def test_lines_of_a_real_net(shared_data):
    text = (shared_data / "caffe" / "yufacedetectnet-open-v1.prototxt").read_text()
    rows = text.split("\n")
    lines = layer_lines(text, "layer")
    assert len(lines) == len(parse(text).layer)
    assert all(rows[line - 1].startswith("layer") for line in lines)


def message_or_error(data):
    """Parse; return the message of the one error that may arise, or None."""
    try:
        parse(data)
    except ConversionError as error:
        return str(error)
    return None


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "ignore")))
)
def test_any_bytes_parse_or_raise_conversion_error(data):
    error = message_or_error(data)
    assert error is None or ("x.prototxt" in error and "\n" not in error)


WORDS = st.sampled_from(
    [
        "layer",
        "layers",
        "{",
        "}",
        "<",
        ">",
        ":",
        "name",
        '"a"',
        "'",
        "1",
        "-1",
        "1e99",
        "nan",
        "[",
        "]",
        ",",
        ";",
    ]
    + [
        "type",
        "bottom",
        "convolution_param",
        "pad",
        "shape",
        "dim",
        "include",
        "phase",
        "TEST",
        "#",
        "\n",
        "\\",
        "é",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=60).map(" ".join))
def test_near_prototxts_parse_or_raise_conversion_error(text):
    error = message_or_error(text.encode())
    assert error is None or ("x.prototxt" in error and "\n" not in error)
