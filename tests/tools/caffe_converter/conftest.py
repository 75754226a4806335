"""Tools of these tests: prototxts.py and random_model.py beside this file, imported by their names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
