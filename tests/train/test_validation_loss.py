"""The validation loss: the training graph's own figures on the validation images, and the row that tells them."""

import numpy as np
import pytest

from common import images
from common.mx import mx
from dataset.records import RecordDataset
from detect.detector import Detector
from detect.preprocess import network_input
from evaluate.run import detect_records
from model.graph import anchors_of, load_symbol
from model.saved import load, symbol_path
from symbol.loss import LossConfig
from train.devices import BatchLoss
from train.validation_loss import LossMeter, labels_of


def by_the_graph(prefix, dataset):
    """The sums of the saved training graph (MultiBoxTarget inside) on all images in one batch, in inference mode."""
    saved = load(prefix, "last")
    card, labels = saved.card, labels_of(dataset)
    planes = [
        network_input(images.decode(dataset.read(i).image, "image"), card.data_shape, card.mean, card.std)
        for i in range(len(dataset))
    ]
    inputs = {"data": np.stack(planes), "label": labels}
    executor = load_symbol(symbol_path(prefix)).simple_bind(
        mx.cpu(), grad_req="write", **{name: value.shape for name, value in inputs.items()}
    )
    executor.copy_params_from(saved.arg_params, saved.aux_params, allow_extra_params=True)
    out = executor.forward(is_train=False, **{name: mx.nd.array(value) for name, value in inputs.items()})
    return BatchLoss(*(float(values.asnumpy().astype(np.float64).sum()) for values in out))


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_validation_loss_is_the_training_graphs_own(trained, records, at_once):
    dataset, saved = RecordDataset(records.val), load(trained, "last")
    loss = LossConfig()
    boxes = anchors_of(load_symbol(symbol_path(trained)), {}, saved.card.data_shape, "graph")
    meter = LossMeter(boxes, saved.card.anchors.variances, labels_of(dataset), 5, loss, at_once)
    for _ in range(2):  # a meter starts anew after its total
        detect_records(
            Detector(trained, "last", predictions=True),
            dataset,
            on_result=lambda r: meter.add(r.index, r.predictions),
        )
        total = meter.total()
    expected = by_the_graph(trained, dataset)
    normaliser = expected.normaliser(loss.negative_ratio)
    assert expected.positives > 0
    assert total.cls == pytest.approx(expected.cls / normaliser, rel=1e-4)
    assert total.loc == pytest.approx(expected.loc / normaliser, rel=1e-4)
    assert total.positives * len(dataset) == expected.positives


def test_validation_loss_has_the_options_of_the_training_loss(trainer, records):
    options = (
        "--neutral-iou",
        "0.2",
        "--label-smoothing",
        "0.2",
        "--loc-weight",
        "3",
        "--matching",
        "bipartite",
    )
    assert trainer.new("run", "--end-epoch", "1", *options, val=True) == 0
    expected = by_the_graph(trainer.prefix("run"), RecordDataset(records.val))
    normaliser, row = expected.normaliser(3.0), trainer.rows("run")[0]
    assert float(row["val_cls_loss"]) == pytest.approx(expected.cls / normaliser, rel=1e-3)
    assert float(row["val_loc_loss"]) == pytest.approx(expected.loc / normaliser, rel=1e-3)


def random_predictions(rng, images, boxes):
    """Of a network with five classes: [(loc_pred, cls_pred)], float32."""
    shapes = (4 * boxes,), (6, boxes)
    return [tuple(rng.normal(size=shape).astype(np.float32) * 3 for shape in shapes) for _ in range(images)]


def test_each_validation_has_the_losses_of_its_own_predictions():
    """An executor that is kept, and kept old values, would give the losses of an earlier epoch or chunk."""
    rng = np.random.default_rng(0)
    corners = rng.random((40, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)  # (A, 4)
    labels = np.full((8, 1, 6), -1, np.float32)
    labels[:, 0] = [[index % 5, *boxes[3 * index], 0] for index in range(8)]
    arguments = boxes, (0.1, 0.1, 0.2, 0.2), labels, 5, LossConfig()
    kept, losses = LossMeter(*arguments, at_once=3), []  # chunks of 3, 3 and 2
    for _ in range(3):
        meters = kept, LossMeter(*arguments, at_once=8)  # new, and one chunk: nothing is used again
        for index, predictions in enumerate(random_predictions(rng, len(labels), len(boxes))):
            for meter in meters:
                meter.add(index, predictions)
        losses.append(kept.total())
        expected = meters[1].total()
        assert (losses[-1].cls, losses[-1].loc) == pytest.approx((expected.cls, expected.loc), rel=1e-5)
    assert len({loss.cls for loss in losses}) == len({loss.loc for loss in losses}) == 3


def test_labels_of_records_are_filled_up_with_void_rows(records):
    dataset = RecordDataset(records.train)
    labels = labels_of(dataset)
    for index in range(len(dataset)):
        label = dataset.read(index).label
        assert (labels[index, : len(label)] == label).all()
        assert (labels[index, len(label) :] == -1).all()


def test_records_without_objects_have_void_labels(records):
    assert (labels_of(RecordDataset(records.empty)) == -1).all()


def test_table_tells_the_validation_loss_where_there_was_one(trainer):
    assert trainer.new("run", "--end-epoch", "3", "--val-period", "2", val=True) == 0
    rows = trainer.rows("run")
    assert [bool(row["val_cls_loss"]) for row in rows] == [False, True, True]
    assert all(float(row["val_loc_loss"]) >= 0 for row in rows[1:])
