"""The networks of ssd_keras."""

PRESETS = {}
