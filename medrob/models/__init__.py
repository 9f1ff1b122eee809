"""Networks: the first layer normalises, so clean and corrupted images cannot be treated differently."""

from medrob.models.build import architectures, build, for_data, form, wrap
from medrob.models.device import memory_order, ordered, pick_device, place
from medrob.models.files import load, save
from medrob.models.layers import cam_layers, evaluating, layer_shapes
from medrob.models.network import RESNETS, STEMS, Classifier, Normalise, ResNet, activate
from medrob.models.weights import is_name
from medrob.models.weights import names as weight_names

__all__ = [
    "RESNETS",
    "STEMS",
    "Classifier",
    "Normalise",
    "ResNet",
    "activate",
    "architectures",
    "build",
    "cam_layers",
    "evaluating",
    "for_data",
    "form",
    "is_name",
    "layer_shapes",
    "load",
    "memory_order",
    "ordered",
    "pick_device",
    "place",
    "save",
    "weight_names",
    "wrap",
]
