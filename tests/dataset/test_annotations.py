from pathlib import Path

import numpy as np
import pytest

from common.errors import AnnotationError
from dataset.annotations import (
    AnnotationSet,
    Problem,
    Reason,
    count_reasons,
    problems_csv,
    relative_path,
    stop_if_strict,
)

FOUND = [
    Problem("b", "/root/A/b.xml", Reason.CLASS_NOT_ASKED, "cow", 0),
    Problem("a", "/root/A/a.xml", Reason.INVERTED, "9 1 2 3", 4),
    Problem("a", "/elsewhere/a.xml", Reason.MISSING_IMAGE),
    Problem("c", "/root/A/c.xml", Reason.INVERTED, 'x="1",2', 1),
]


def test_problems_are_counted_in_the_rules_order():
    assert list(count_reasons(FOUND).items()) == [
        ("missing image", 1),
        ("inverted box", 2),
        ("other class", 1),
    ]


def test_problems_are_listed_relative_to_the_root():
    assert problems_csv(FOUND, Path("/root")).split("\n") == [
        "image,annotation,object,reason,value,outcome",
        "b,A/b.xml,0,other class,cow,object left out",
        "a,A/a.xml,4,inverted box,9 1 2 3,object left out",
        "a,/elsewhere/a.xml,,missing image,,image left out",
        'c,A/c.xml,1,inverted box,"x=""1"",2",object left out',
        "",
    ]


def test_strict_stops_at_the_first_problem_that_was_not_asked_for():
    with pytest.raises(AnnotationError, match=r"/root/A/a.xml, object 4: inverted box \(9 1 2 3\).*--strict"):
        stop_if_strict(FOUND, True)
    stop_if_strict(FOUND, False)
    stop_if_strict(FOUND[:1], True)


def test_every_reason_has_its_own_name():
    assert len({reason.text for reason in Reason}) == len(Reason)


def test_relative_path_has_forward_slashes():
    assert relative_path("/root/a/b.jpg", Path("/root")) == "a/b.jpg"
    assert relative_path("/x/b.jpg", Path("/root")) == "/x/b.jpg"


def test_indices_count_from_zero_where_the_reader_says_nothing(voc):
    sample = voc.add("a", [("ant", 1, 1, 9, 9)] * 2).read().samples[0]
    np.testing.assert_array_equal(AnnotationSet([sample], ("ant",), []).indices(0), [0, 1])
