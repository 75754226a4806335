"""Convert a prototxt alone to a symbol; --help lists the flags.

python tools/caffe_converter/convert_symbol.py deploy.prototxt model/ssd_vgg_caffe-symbol.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.command import run

if __name__ == "__main__":
    run("tools.caffe_converter.symbol_command")
