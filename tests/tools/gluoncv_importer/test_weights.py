"""gluoncv's files in all their forms, and files that are something else."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import CheckpointError, ConversionError
from common.mx import mx
from symbol.gluon_ssd import INPUT_SCALE, gluon_ssd
from tools.gluoncv_importer.detector import import_detector
from tools.gluoncv_importer.weights import read_weights

NAME = "ssd_300_mobilenet0.25_custom"


@pytest.fixture
def read(small_file):
    """What the importer makes of the small network's file."""
    return read_weights(gluon_ssd(NAME), small_file)[0]


def assert_equal(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy())


def test_file_of_export_holds_the_same(small_net, read, gluon, tmp_path):
    """Its names are those of Gluon's parameters, with arg: and aux: and the prefix of the process."""
    small_net.hybridize()
    small_net(gluon.data((128, 160)))
    small_net.export(str(tmp_path / "exported"))
    small_net.hybridize(False)
    found, constants, unknown = read_weights(gluon_ssd(NAME), tmp_path / "exported-0000.params")
    assert_equal(found, read)
    assert len(constants) == 6
    assert unknown == []


def test_old_kind_of_file_holds_the_same(small_net, read, tmp_path):
    """Versions before save_parameters wrote Gluon's own names without the prefix."""
    path = str(tmp_path / "old.params")
    small_net.collect_params().save(path, strip_prefix=small_net.prefix)
    assert_equal(read_weights(gluon_ssd(NAME), path)[0], read)


def test_half_precision_becomes_single(small_file, read, tmp_path):
    path = str(tmp_path / "half.params")
    mx.nd.save(path, {name: array.astype("float16") for name, array in mx.nd.load(small_file).items()})
    found = read_weights(gluon_ssd(NAME), path)[0]
    assert {array.dtype for array in found.values()} == {np.float32}
    for name, array in read.items():
        np.testing.assert_allclose(found[name].asnumpy(), array.asnumpy(), atol=2e-3, rtol=2e-3)


def test_class_heads_keep_their_rows_by_default_box_and_class(small_net, read):
    """Row k * (classes + 1) + class, background first, as in all detectors here."""
    for number, layer in enumerate(("mobilenet0_relu22", "mobilenet0_relu26", "extra0_relu0")):
        own = small_net.class_predictors[number].predictor.bias.data().asnumpy()
        assert read[f"{layer}_cls_pred_conv_bias"].asnumpy().tolist() == own.tolist()
        assert own.size % 4 == 0  # three classes and the background


def test_names_do_not_depend_on_what_was_built_before(gluon):
    first = gluon_ssd(NAME)
    gluon_ssd.cache_clear()
    gluon.build("ssd_300_mobilenet0.25_voc", (128, 128))
    second = gluon_ssd(NAME)
    assert first is not second
    assert first.parameters == second.parameters
    graphs = [detector.backbone(mx.sym.Variable("data")).tojson() for detector in (first, second)]
    assert graphs[0] == graphs[1]
    assert "0x" not in graphs[0]


def test_reset_classes_are_taken_under_their_names(gluon, same, tmp_path):
    """A detector of VOC that its owner trained for other classes."""
    net = gluon.build("ssd_300_mobilenet0.25_voc", (128, 160))
    net.reset_class(["door", "window"])
    imported = import_detector(
        gluon_ssd("ssd_300_mobilenet0.25_voc"),
        gluon.save(net, tmp_path),
        class_names=("door", "window"),
        data_shape=(128, 160),
    )
    data = gluon.data((128, 160))
    for mine, theirs in zip(gluon.found(imported.symbol, imported.params, data), gluon.rows(net, data)):
        same(mine, theirs)


def test_other_number_of_names_says_both(small_file):
    with pytest.raises(ConversionError, match="file is for 3 classes, there are 2 names.*--class-names"):
        import_detector(gluon_ssd(NAME), small_file, class_names=("a", "b"))


def test_own_classes_must_be_named(small_file):
    with pytest.raises(
        ConversionError, match="classes of your own, 3 in this file: name them by --class-names"
    ):
        import_detector(gluon_ssd(NAME), small_file)


def test_file_of_another_detector_names_what_is_missing(small_file):
    with pytest.raises(
        ConversionError, match=r"not the weights of ssd_512_resnet18_v1_voc: \d+ of 1\d\d .*check NAME"
    ):
        import_detector(gluon_ssd("ssd_512_resnet18_v1_voc"), small_file)


def test_value_that_is_not_finite_is_named(small_file, tmp_path):
    arrays = mx.nd.load(small_file)
    arrays["class_predictors.2.predictor.bias"][3] = np.nan
    path = str(tmp_path / "nan.params")
    mx.nd.save(path, arrays)
    with pytest.raises(
        ConversionError, match=r"class_predictors\.2\.predictor\.bias holds values that are not finite"
    ):
        import_detector(gluon_ssd(NAME), path, class_names=("a", "b", "c"))


def test_something_else_than_parameters_is_told(tmp_path):
    path = tmp_path / "page.params"
    path.write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match="not an MXNet parameter file"):
        import_detector(gluon_ssd(NAME), path, class_names=("a",))


def test_what_the_detector_does_not_have_is_left_out_and_listed(small_file, tmp_path):
    path = str(tmp_path / "more.params")
    mx.nd.save(path, {**mx.nd.load(small_file), "output.weight": mx.nd.zeros((10, 4))})
    imported = import_detector(gluon_ssd(NAME), path, class_names=("a", "b", "c"))
    assert imported.unknown == ("output.weight",)
    assert "output.weight" not in imported.params[0]


def test_other_factor_on_the_input_is_refused(gluon, tmp_path):
    name = "ssd_300_vgg16_atrous_voc"
    path = gluon.save(gluon.build(name), tmp_path)
    arrays = mx.nd.load(path)
    assert arrays[INPUT_SCALE].asnumpy().ravel().tolist() == pytest.approx([58.395, 57.12, 57.375])
    mx.nd.save(path, {**arrays, INPUT_SCALE: arrays[INPUT_SCALE] * 2})
    with pytest.raises(ConversionError, match="multiplies its input by .*another preprocessing"):
        import_detector(gluon_ssd(name), path)
