"""ONNX Runtime on the CPU; int8 by its own static quantisation (QDQ, weights per channel)."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from engine import Engine


class OnnxRuntime(Engine):
    """ONNX Runtime's session."""

    def versions(self) -> dict:
        """Return the version."""
        return {"onnxruntime": onnxruntime.__version__}

    def load(self, model: str) -> None:
        """Open a session with all of its graph optimisations."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def quantise(self, model: str, calibration: list, folder: Path) -> str:
        """Write a network in int8."""
        return quantised(model, calibration, folder)

    def infer(self, index: int):
        """Run the session."""
        return self.session.run(["loc_pred", "cls_pred"], {"data": self.batches[index]})


def quantised(model: str, calibration: list, folder: Path) -> str:
    """Write a network in int8, calibrated on batches, and return its file."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        """Hands batches over one by one."""

        def __init__(self):
            self.left = iter(calibration)

        def get_next(self):
            """Return the next, None at the end."""
            batch = next(self.left, None)
            return None if batch is None else {"data": batch}

    prepared, out = str(folder / "onnxruntime-prepared.onnx"), str(folder / "onnxruntime.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(
        prepared,
        out,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return out


def make(threads: int) -> OnnxRuntime:
    """Make the engine."""
    return OnnxRuntime(threads)
