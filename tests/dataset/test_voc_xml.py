import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import AnnotationError
from dataset.voc_xml import VOCAnnotation, parse_voc_xml, read_voc_xml

BOMB = b"""<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<annotation><filename>&a;</filename></annotation>"""


def parse(text):
    return parse_voc_xml(text.encode(), "x.xml")


def test_annotation_is_read_as_stated():
    text = """<annotation><filename> a.jpg </filename><size><width>640</width><height>480.0</height></size>
    <object><name> dog </name><difficult>1</difficult><bndbox><xmin>1.5</xmin><ymin>2</ymin><xmax>3</xmax>
    <ymax>4e1</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object></annotation>"""
    annotation = parse(text)
    assert (annotation.filename, annotation.size) == ("a.jpg", (640, 480))
    entry = annotation.objects[0]
    assert len(annotation.objects) == 1  # a part is no object
    assert (entry.name, entry.box, entry.difficult, entry.fault) == ("dog", (1.5, 2, 3, 40), True, "")


@pytest.mark.parametrize(
    ("text", "difficult"),
    [
        ("", False),
        ("<difficult/>", False),
        ("<difficult>0</difficult>", False),
        ("<difficult>1</difficult>", True),
    ]
    + [("<difficult>Unspecified</difficult>", False), ("<difficult>true</difficult>", True)],
)
def test_missing_difficult_is_not_difficult(tools, text, difficult):
    annotation = parse(tools.annotation_xml([("dog", 1, 1, 9, 9, text)]))
    assert annotation.objects[0].difficult is difficult


@pytest.mark.parametrize("size", [(0, 48), (-1, 48), ("x", 48), ("nan", 48), ("inf", 48), ("", "")])
def test_impossible_size_counts_as_none_stated(tools, size):
    assert parse(tools.annotation_xml([], size=size)).size is None


def test_object_that_cannot_be_read_is_told_apart(tools):
    annotation = parse(tools.annotation_xml([("dog", "abc", 1, 9, 9), ("", 1, 1, 9, 9), ("cat", 1, 1, 9, 9)]))
    assert [entry.fault for entry in annotation.objects] == ["xmin='abc'", "no <name>", ""]
    assert [entry.index for entry in annotation.objects] == [0, 1, 2]


@pytest.mark.parametrize("data", [BOMB, OUTSIDE])
def test_entities_are_refused(data):
    with pytest.raises(AnnotationError, match="refused, it declares XML entities"):
        parse_voc_xml(data, "x.xml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.xml, line 1: not XML .*empty"),
        (b"<annotation>\n<object>\n</annotation>", "x.xml, line 3: not XML"),
        (b"<html><body/></html>", "root element is <html>"),
        (b"<!doctype html><html><p></html>", "HTML page"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "x.xml"),
        (b"\xff\xfe\x00", "x.xml"),
    ],
)
def test_what_is_no_annotation_is_refused_with_file_and_line(data, message):
    with pytest.raises(AnnotationError, match=message):
        parse_voc_xml(data, "x.xml")


def test_missing_file_is_an_annotation_error(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"):
        read_voc_xml(tmp_path / "none.xml")


def parse_or_message(data):
    """Return what was parsed, or the message of the one error that may arise."""
    try:
        return parse_voc_xml(data, "x.xml")
    except AnnotationError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_annotation_error(data):
    outcome = parse_or_message(data)
    assert isinstance(outcome, VOCAnnotation) or "x.xml" in outcome


values = st.one_of(st.text(max_size=8), st.integers(), st.floats().map(str))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(*[values] * 6), max_size=4),
    st.tuples(values, values),
    st.integers(0, 400),
    st.binary(max_size=3),
)
def test_near_annotations_parse_or_raise_annotation_error(objects, size, cut, junk):
    parts = ["<annotation><size>", f"<width>{size[0]}</width><height>{size[1]}</height></size>"]
    for name, xmin, ymin, xmax, ymax, difficult in objects:
        sides = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        parts.append(
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"
        )
    data = "".join([*parts, "</annotation>"]).encode("utf-8", "surrogatepass")
    for mutated in (data, data[:cut] + junk + data[cut:], data[:cut]):
        outcome = parse_or_message(mutated)
        if isinstance(outcome, VOCAnnotation):
            assert all(entry.fault or (entry.name and len(entry.box) == 4) for entry in outcome.objects)
        else:
            assert "x.xml" in outcome
