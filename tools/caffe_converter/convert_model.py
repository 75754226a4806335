"""Convert a Caffe SSD to a detector of this project; --help lists the flags.

python tools/caffe_converter/convert_model.py deploy.prototxt VGG_VOC0712_SSD_300x300.caffemodel model/ssd_vgg_caffe
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.command import run

if __name__ == "__main__":
    run("tools.caffe_converter.model_command")
