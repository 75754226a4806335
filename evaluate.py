"""Measure the mean average precision of a detector on packed records: python evaluate.py --help."""

from common.command import run

if __name__ == "__main__":
    run("evaluate.command")
