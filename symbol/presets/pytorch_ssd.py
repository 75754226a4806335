"""The networks of pytorch-ssd."""

PRESETS = {}
