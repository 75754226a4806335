import pytest

from common.errors import ConversionError
from tools.caffe_converter.labelmap import read_label_map


def write(tmp_path, text):
    path = tmp_path / "labelmap.prototxt"
    path.write_text(text, encoding="utf-8")
    return path


def items(*rows):
    return "".join(f'item {{ name: "{name}" label: {label} }}\n' for name, label in rows)


def test_names_stand_in_the_order_of_labels_without_background(tmp_path):
    text = items(("dog", 2), ("none_of_the_above", 0), ("cat", 1))
    assert read_label_map(write(tmp_path, text)) == ("cat", "dog")


def test_display_name_goes_first(tmp_path):
    text = 'item { name: "n02" label: 1 display_name: "große Katze" } item { name: "dog" label: 2 }'
    assert read_label_map(write(tmp_path, text)) == ("große Katze", "dog")


@pytest.mark.parametrize(
    ("rows", "background", "names"),
    [
        ((("a", 0), ("b", 1)), -1, ("a", "b")),
        ((("a", 0), ("b", 1), ("bg", 2)), 2, ("a", "b")),
        ((("a", 0), ("b", 1)), 2, ("a", "b")),
        ((("a", 0), ("bg", 1), ("b", 2)), 1, ("a", "b")),
    ],
)
def test_background_may_stand_anywhere_or_nowhere(tmp_path, rows, background, names):
    assert read_label_map(write(tmp_path, items(*rows)), background) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (items(("a", 1), ("b", 3)), "label 2 is missing"),
        (items(("bg", 0), ("a", -1)), "labels run from 0"),
        (items(("a", 1), ("b", 1)), "label 1 is there twice: 'a', 'b'"),
        (items(("a", 1), ("a", 2)), "the name 'a' is there 2 times"),
        ('item { name: "a" }', "item 1 of 1 has no label"),
        ("item { label: 1 }", "item 1 of 1 has no name"),
        (items(("bg", 0)), "no class in it"),
        ('layer { name: "a" }', "unknown field 'layer' in LabelMap; .*item"),
        ("", "not a label map: it is empty"),
        ("<html>", "an HTML page"),
        ("cat\ndog\n", "labelmap.prototxt:1"),
    ],
)
def test_what_is_no_label_map_is_one_error(tmp_path, text, message):
    with pytest.raises(ConversionError, match=message) as caught:
        read_label_map(write(tmp_path, text))
    assert "\n" not in str(caught.value)
