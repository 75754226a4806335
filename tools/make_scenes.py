"""Draw scenes with their ground truth as a Pascal VOC folder (see dataset/scenes.py)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run  # noqa: E402

if __name__ == "__main__":
    run("dataset.scenes_command")
