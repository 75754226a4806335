"""gluoncv's SSD detectors become detectors of this project.

The way of a model: symbol/gluon_ssd.py builds the network, weights.py reads gluoncv's file, boxes.py sees to the
default boxes, detector.py puts graph, parameters and card together, command.py is the command.
"""
