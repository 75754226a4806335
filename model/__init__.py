"""Third floor: a saved detector, that is a symbol, its parameters and a card, and what can be done to its graph.

The folder is also where weights lie by default; the detector that ships with the project is `SHIPPED_MODEL`.
"""

from pathlib import Path

MODEL_FOLDER = Path(__file__).resolve().parent
SHIPPED_MODEL = MODEL_FOLDER / "ssd7_scenes"
