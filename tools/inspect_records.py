"""Report on packed records: what they hold, whether they are whole, what they look like; --help lists the flags.

python tools/inspect_records.py data/train.rec --verify --draw 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("dataset.inspect_command")
