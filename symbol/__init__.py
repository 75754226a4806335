"""Second floor: networks as graphs. Presets, default boxes, backbones, features, heads, loss and detection tail.

Every function here is pure: (Symbol, small config) -> Symbol. The names of layers are the checkpoint format, so all of
them are explicit; nothing depends on MXNet's name counter. This room knows nothing of data sets.
"""
