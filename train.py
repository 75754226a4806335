"""Train an SSD detector: see `python train.py --help` and train/command.py."""

from common.command import run

if __name__ == "__main__":
    run("train.command")
