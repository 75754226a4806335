"""Pack images with annotations into records for training and evaluation; --help lists the flags.

python tools/prepare_dataset.py --root data/VOCdevkit --year 2007,2012 --set trainval --target data/train.lst
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("dataset.prepare_command")
