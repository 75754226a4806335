"""Compare every blob of a converted net to what OpenCV computes from the Caffe files; --help lists the flags.

python tools/caffe_converter/compare_layers.py deploy.prototxt VGG_VOC0712_SSD_300x300.caffemodel
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.command import run

if __name__ == "__main__":
    run("tools.caffe_converter.compare_command")
