"""The networks that come from no other system."""

from symbol.backbones import ssd7
from symbol.config import Feature
from symbol.presets.preset import RATIOS_3, Preset

# Scales are ssd_keras's progression for seven convolutions: 3 cells of the finest map up to the whole image.
# std 58 (near ImageNet's own, in 0..255) brings the pixels to unit variance, which random weights want.
SSD7 = Preset(
    backbone=ssd7.backbone,
    features=tuple(Feature(f"relu{number}") for number in (4, 5, 6, 7)),
    scales=(0.08, 0.16, 0.32, 0.64, 0.96),
    ratios=(RATIOS_3,) * 4,
    steps=(8, 16, 32, 64),
    std=(58.0, 58.0, 58.0),
    rate=0.02,
    source="this project, after ssd_keras SSD7",
)

PRESETS = {"ssd7": (SSD7,)}
