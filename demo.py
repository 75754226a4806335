"""Find objects in pictures and draw them: python demo.py --help."""

from common.command import run

if __name__ == "__main__":
    run("detect.command")
