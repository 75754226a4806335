"""Write a detector for inference: see `python deploy.py --help` and deploy/command.py."""

from common.command import run

if __name__ == "__main__":
    run("deploy.command")
