"""Train on several processes or machines: see `python tools/launch.py --help` and docs/several-machines.md.

python tools/launch.py --workers 2 -- python train.py --kv-store dist_sync --train-path data/train.rec
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("train.launch")
