"""tools/benchmark.py: how fast this project is, beside other engines on the same machine in the same run.

The way of a measurement: command.py reads flags; prepare.py, in a process of its own, makes or loads detectors and
hands them over by ONNX (heads_onnx.py); worker.py drives one process for each engine (workers/), in turn; rounds.py
measures, figures.py makes medians and ratios of it, report.py and plot.py tell them.
"""
