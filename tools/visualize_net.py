"""Print a network's layers and draw its graph; --help lists the flags.

python tools/visualize_net.py --network mobilenet
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("train.visualize")
