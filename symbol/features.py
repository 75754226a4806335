"""The feature maps that the heads read: layers of the backbone, then extra blocks on top of the last."""

from common.errors import ConfigError, did_you_mean
from common.mx import mx
from symbol.config import NetworkConfig


def features(config: NetworkConfig) -> list:
    """Build a network up to its feature maps.

    Args:
        config: the network.

    Returns:
        One Symbol for each feature map (B, C, h, w), the finest first; its name is the feature layer's.

    Raises:
        ConfigError: the backbone has no layer of a name.
    """
    internals = config.backbone(mx.sym.Variable("data")).get_internals()
    layers = []
    for feature in config.features:
        if feature.extra is not None:
            layers.append(feature.extra(layers[-1], feature.layer))
        else:
            layers.append(_layer(internals, feature.layer, config.network))
    return layers


def feature_names(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the feature layers; the heads' parameter names begin with them."""
    return tuple(layer.name for layer in features(config))


def _layer(internals, name: str, network: str):
    """Return a layer of the backbone by its name."""
    outputs = internals.list_outputs()
    if f"{name}_output" not in outputs:
        known = [output[: -len("_output")] for output in outputs if output.endswith("_output")]
        raise ConfigError(f"network {network}: its backbone has no layer {name!r}{did_you_mean(name, known)}")
    return internals[f"{name}_output"]
