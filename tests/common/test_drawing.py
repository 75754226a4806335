"""Boxes and labels on pictures."""

import itertools

import numpy as np
import pytest

from common.drawing import class_colours, draw_boxes, text_colour


def grey(width, height):
    return np.full((height, width, 3), 128, np.uint8)


def test_colours_are_stable_and_told_apart():
    colours = class_colours(80)
    assert class_colours(5) == colours[:5]
    assert len(set(colours)) == 80
    distances = [np.abs(np.subtract(a, b)).sum() for a, b in itertools.combinations(colours[:20], 2)]
    assert min(distances) > 50
    assert len(class_colours(5000)) == 5000
    assert class_colours(0) == []


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 255, 0), (0, 0, 255), (128, 128, 128)])
def test_text_has_the_better_contrast(colour):
    def luminance(c):
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in c]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    best = max([(0, 0, 0), (255, 255, 255)], key=lambda text: contrast(text, colour))
    assert text_colour(colour) == best


def test_box_is_drawn_half_open_in_its_colour():
    drawn = draw_boxes(grey(200, 200), [[50, 60, 100, 120]], [""], [(255, 0, 0)])
    red = np.all(drawn == (255, 0, 0), axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (60, 119, 50, 99)
    assert not red[80:100, 60:90].any()


def test_image_is_not_changed():
    image = grey(100, 80)
    drawn = draw_boxes(image, [[10, 10, 60, 60]], ["dog 0.9"], [(255, 0, 0)])
    assert np.all(image == 128)
    assert not np.shares_memory(image, drawn)
    assert np.array_equal(draw_boxes(image, [], [], []), image)


@pytest.mark.parametrize(
    "box", [[0, 0, 40, 30], [560, 440, 640, 480], [300, -20, 900, 900], [0, 470, 640, 480]]
)
def test_label_stays_inside_the_image(box):
    colour = (255, 255, 0)
    plain = draw_boxes(grey(640, 480), [box], [""], [colour])
    drawn = draw_boxes(grey(640, 480), [box], ["traffic light 0.99"], [colour])
    added = np.any(drawn != plain, axis=2)
    filled = np.all(drawn[added] == colour, axis=1)
    assert np.count_nonzero(added) > 1500  # the whole label, not what the edge left of it
    assert 0.5 < filled.mean() < 0.95  # the rest is text


def test_line_and_letters_grow_with_the_image():
    shares = []
    for width, height in ((320, 240), (1280, 960), (5120, 3840)):
        box = [0.3 * width, 0.3 * height, 0.9 * width, 0.9 * height]
        drawn = draw_boxes(grey(width, height), [box], ["dog 0.99"], [(255, 0, 0)])
        shares.append(np.mean(np.any(drawn != 128, axis=2)))
    assert max(shares) < 1.5 * min(shares)


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    colours = class_colours(4)
    drawn = draw_boxes(grey(640, 480), [[200, 200, 400, 400]] * 4, ["person 0.99"] * 4, colours)
    sizes = [np.count_nonzero(np.all(drawn == colour, axis=2)) for colour in colours]
    assert min(sizes) > 1500


def test_names_beyond_ascii_are_no_row_of_equal_boxes():
    pytest.importorskip("matplotlib")

    def label(text):
        return draw_boxes(grey(640, 480), [[200, 200, 400, 400]], [text], [(255, 255, 0)])

    assert not np.array_equal(label("éü"), label("ñł"))
    assert not np.array_equal(label("Ж"), label("Ω"))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (20, 8), (3000, 10), (10, 3000)])
@pytest.mark.parametrize(
    "box",
    [[0, 0, 5, 5], [-10, -10, -5, -5], [9, 9, 2, 2], [np.nan, 0, np.inf, 5], [4e9, 0, 5e9, 1], [3, 3, 3, 3]],
)
def test_no_size_and_no_box_is_too_odd(size, box):
    drawn = draw_boxes(grey(*size), [box], ["a rather long name of a class 0.12"], [(255, 0, 0)])
    assert drawn.shape == (size[1], size[0], 3)
    assert drawn.dtype == np.uint8


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="1 boxes, 2 labels"):
        draw_boxes(grey(10, 10), [[0, 0, 1, 1]], ["a", "b"], [(0, 0, 0)])
    with pytest.raises(ValueError, match="uint8"):
        draw_boxes(grey(10, 10).astype(float), [], [], [])
