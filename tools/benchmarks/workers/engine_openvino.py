"""OpenVINO on the CPU, tuned for latency; int8 by NNCF's quantisation after training.

Its inference precision is set to float32: by itself it takes bfloat16 where the processor has it.
"""

from __future__ import annotations

from pathlib import Path

import openvino
from engine import Engine


class OpenVino(Engine):
    """OpenVINO's compiled model."""

    def versions(self) -> dict:
        """Return the versions."""
        found = {"openvino": openvino.__version__.split("-")[0]}
        try:
            import nncf

            found["nncf"] = nncf.__version__
        except ImportError:
            pass
        return found

    def load(self, model: str) -> None:
        """Compile a network."""
        core = openvino.Core()
        network = core.read_model(model)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.compiled = core.compile_model(network, "CPU", settings)
        self.request = self.compiled.create_infer_request()
        streams, threads = (
            self.compiled.get_property(key) for key in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")
        )
        self.note = f"{streams} stream, {threads} threads"

    def quantise(self, model: str, calibration: list, folder: Path) -> str:
        """Write a network in int8."""
        import nncf

        network = openvino.Core().read_model(model)
        network = nncf.quantize(network, nncf.Dataset(calibration), subset_size=len(calibration))
        out = folder / "openvino.xml"
        openvino.save_model(network, out, compress_to_fp16=False)
        return str(out)

    def infer(self, index: int):
        """Run the model; inputs and outputs are shared, not copied."""
        found = self.request.infer([self.batches[index]], share_inputs=True, share_outputs=True)
        return found["loc_pred"], found["cls_pred"]


def make(threads: int) -> OpenVino:
    """Make the engine."""
    return OpenVino(threads)
