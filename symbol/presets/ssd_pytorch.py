"""The networks of SSD-pytorch."""

PRESETS = {}
