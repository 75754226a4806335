"""Import a detector of gluoncv's model zoo; --help lists the flags.

python tools/import_gluoncv.py ssd_512_resnet50_v1_voc --params ssd_512_resnet50_v1_voc.params
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.command import run

if __name__ == "__main__":
    run("tools.gluoncv_importer.command")
