"""Names by a local counter: the same each time, explicit ones untouched, the process-wide counter left alone."""

from common.mx import mx
from symbol.names import LocalNames


def build():
    with LocalNames("tail_"):
        body = mx.sym.softmax(mx.sym.Variable("data")) + 1
        return mx.sym.exp(body, name="end")


def test_names_do_not_depend_on_what_was_built_before():
    names = build().get_internals().list_outputs()
    assert names == ["data", "tail_softmax0_output", "tail_plusscalar0_output", "end_output"]
    assert build().get_internals().list_outputs() == names


def test_names_outside_are_not_touched():
    with mx.name.NameManager():
        build()
        assert mx.sym.softmax(mx.sym.Variable("data")).name == "softmax0"
