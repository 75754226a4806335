"""Caffe SSD models become detectors of this project, without Caffe.

The way of a model: prototxt.py and caffemodel.py read the files (schema.py knows the format), net.py makes the clean
test-phase graph of it; the layers, the prior boxes and the weights are then translated from there.
"""
