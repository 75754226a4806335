"""Fetch published weights: mxnet-ssd's releases, gluoncv's SSDs and ImageNet backbones; --help lists the flags.

python model/download.py ssd_resnet50_512
"""

import sys
from pathlib import Path

# In place of this script's own folder, whose modules are the package `model`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("model.download_command")
