"""onnx2torch, imported also where torchvision is a build whose operators torch cannot load: no network here has any.

torchvision then stops at the first operator that is not there; each is declared, without code, and the import repeated.
"""

from __future__ import annotations

import importlib
import re
import sys

import torch

_MOST = 40  # operators that torchvision could miss


def _import():
    """Import onnx2torch, declaring torchvision's operators as far as they are missing."""
    library = None
    for _ in range(_MOST):
        try:
            return importlib.import_module("onnx2torch"), library
        except RuntimeError as error:
            missing = re.search(r"torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "onnx2torch")]:
                del sys.modules[name]
            library = library or torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing.group(1)}(Tensor values) -> Tensor")
    raise ImportError("torchvision misses too many operators")


_onnx2torch, _declared = _import()  # what is declared holds as long as its library is kept
convert = _onnx2torch.convert
