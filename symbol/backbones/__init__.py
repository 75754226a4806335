"""Backbones, one file each: functions `backbone(data, ...) -> Symbol` whose layers a preset picks by name.

A new network needs its file here and a preset in the file of its system in symbol/presets/, nothing else.
"""
