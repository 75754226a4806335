"""The one path from an image to the network's input."""

import cv2
import numpy as np

from detect.preprocess import network_input


def test_equals_opencv_in_double_precision():
    rng = np.random.default_rng(0)
    mean, std = (123.0, 117.0, 104.0), (58.0, 57.0, 56.0)
    for height, width in ((480, 640), (37, 1000), (1, 1), (64, 48)):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        planes = network_input(pixels, (64, 48), mean, std)
        expected = (cv2.resize(pixels, (48, 64)).astype(np.float64) - mean) / std
        assert planes.dtype == np.float32
        np.testing.assert_allclose(planes, expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)


def test_height_comes_before_width_and_red_before_blue():
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:5, :, 0] = 200
    planes = network_input(pixels, (32, 64), (0, 0, 0), (1, 1, 1))
    assert planes.shape == (3, 32, 64)
    assert planes[0, 0].min() == 200
    assert planes[0, -1].max() == planes[1:].max() == 0
