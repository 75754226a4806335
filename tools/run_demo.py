"""`make demo`: the whole chain on scenes that the project draws itself.

Draws, packs, trains from random weights, evaluates, deploys and detects, each by the command that a user would type;
ends with a table of times and the picture to look at. Each command is printed before it runs.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# 1500 scenes of 256x256 at an input of 192x192, 9 epochs: two to four minutes of training on two cores.
STEPS = (
    ("draw", "tools/make_scenes.py --root data/scenes --train 1500 --test 200 --seed 1"),
    (
        "pack",
        "tools/prepare_dataset.py --dataset voc --root data/scenes --set train --target data/scenes_train.lst",
    ),
    (
        "pack",
        (
            "tools/prepare_dataset.py --dataset voc --root data/scenes --set test --target data/scenes_test.lst"
            " --no-shuffle"
        ),
    ),
    (
        "train",
        (
            "train.py --network ssd7 --data-shape 192 --train-path data/scenes_train.rec"
            " --val-path data/scenes_test.rec --prefix output/demo/ssd --batch-size 16 --lr 0.03"
            " --lr-schedule cosine --warmup-epochs 1 --end-epoch 9 --val-period 3 --augment flip"
            " --anchor-sizes '0.15,0.2;0.25,0.31;0.38,0.47;0.7' --overwrite"
        ),
    ),
    ("evaluate", "evaluate.py --prefix output/demo/ssd --epoch last --rec-path data/scenes_test.rec"),
    ("deploy", "deploy.py --prefix output/demo/ssd --epoch last"),
    (
        "detect",
        (
            "demo.py --prefix output/demo/ssd-deploy --dir data/scenes/JPEGImages"
            " --images test_000000.jpg,test_000001.jpg,test_000002.jpg,test_000003.jpg --out output/demo/seen --force"
        ),
    ),
)


def run_step(command: str) -> float:
    """Run one of the project's commands and return its seconds; a command that fails ends the demo with its code."""
    print(f"\n$ python {command}", flush=True)
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *shlex.split(command)], cwd=ROOT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command too, and it knows what to save
    code = process.wait()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if code:
        sys.exit(code)
    return time.perf_counter() - started


def print_table(rows: list[tuple[str, float]]) -> None:
    """Print the seconds of each step."""
    print(f"\n{'step':<10}{'seconds':>9}")
    for name, seconds in rows:
        print(f"{name:<10}{seconds:>9.1f}")
    print(f"{'all':<10}{sum(seconds for _, seconds in rows):>9.1f}")


def main() -> int:
    """Run every step, then tell the times and where to look."""
    argparse.ArgumentParser(prog="run_demo.py", description=__doc__.split("\n\n")[1]).parse_args()
    rows = [(name, run_step(command)) for name, command in STEPS]
    print_table(rows)
    pictures = sorted((ROOT / "output" / "demo" / "seen").glob("*.[jp][pn]g"))
    print("\nLook at:", *(picture.relative_to(ROOT) for picture in pictures[:3]))
    print("Then: the README's recipe for your own images, or python demo.py --dir FOLDER --out output/seen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
