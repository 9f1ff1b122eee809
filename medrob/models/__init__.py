"""Networks: the first layer normalises, so clean and corrupted images cannot be treated differently."""

from medrob.models.build import architectures, build, for_data, form, wrap
from medrob.models.device import memory_order, ordered, pick_device, place
from medrob.models.files import load, save
from medrob.models.layers import NO_MAPS, cam_layers, layer_shapes, named_layers
from medrob.models.network import RESNETS, STEMS, Classifier, Normalise, ResNet, activate
from medrob.models.passes import as_input, evaluating, forward, map_output
from medrob.models.tokens import channel_axis, to_maps
from medrob.models.weights import is_name
from medrob.models.weights import names as weight_names

__all__ = [
    "NO_MAPS",
    "RESNETS",
    "STEMS",
    "Classifier",
    "Normalise",
    "ResNet",
    "activate",
    "architectures",
    "as_input",
    "build",
    "cam_layers",
    "channel_axis",
    "evaluating",
    "for_data",
    "form",
    "forward",
    "is_name",
    "layer_shapes",
    "load",
    "map_output",
    "memory_order",
    "named_layers",
    "ordered",
    "pick_device",
    "place",
    "save",
    "to_maps",
    "weight_names",
    "wrap",
]
