"""SSD.TensorFlow's network: its default boxes written out by hand, in its order, in numpy and in the graph."""

import numpy as np

from common.mx import mx
from symbol.anchors import generate_anchors
from symbol.network import feature_shapes, heads
from symbol.presets import network_config

# Its own settings, of net/anchors: maps, steps in pixels, scale, extra square, ratios.
LAYERS = (
    (38, 8, 0.1, 0.1414, (1, 2, 0.5)),
    (19, 16, 0.2, 0.2739, (1, 2, 3, 0.5, 0.3333)),
    (10, 32, 0.375, 0.4541, (1, 2, 3, 0.5, 0.3333)),
    (5, 64, 0.55, 0.6315, (1, 2, 3, 0.5, 0.3333)),
    (3, 100, 0.725, 0.8078, (1, 2, 0.5)),
    (1, 300, 0.9, 0.9836, (1, 2, 0.5)),
)


def expected() -> np.ndarray:
    """Return the (8732, 4) default boxes by its rule, the extra square first."""
    boxes = []
    for cells, step, scale, extra, ratios in LAYERS:
        sides = [(extra, extra), *((scale * np.sqrt(r), scale / np.sqrt(r)) for r in ratios)]
        for row in range(cells):
            for column in range(cells):
                x, y = (column + 0.5) * step / 300, (row + 0.5) * step / 300
                boxes += [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for w, h in sides]
    return np.array(boxes)


def test_default_boxes_are_those_of_ssd_tensorflow_in_its_order():
    config = network_config("ssd300_tf", (300, 300), 20)
    boxes = generate_anchors(config.anchors, feature_shapes(config))
    np.testing.assert_allclose(boxes, expected(), atol=1e-6)
    executor = heads(config)[2].simple_bind(mx.cpu(), data=(1, 3, 300, 300), grad_req="null")
    np.testing.assert_allclose(executor.forward(is_train=False)[0].asnumpy()[0], expected(), atol=1e-6)
