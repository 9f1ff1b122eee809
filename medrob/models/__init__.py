"""Networks: the first layer normalises, so clean and corrupted images cannot be treated differently."""

from medrob.models.adopt import load_arrays
from medrob.models.backbones import architectures
from medrob.models.build import build, check_choice, check_trained, for_data, load, save, wrap
from medrob.models.layers import NO_MAPS, cam_layers, check_layers, layer_shapes
from medrob.models.network import RESNETS, Classifier, Normalise, pick_device, place
from medrob.models.outputs import activate, evaluating, hooked
from medrob.models.passes import as_input, check_logits, forward, map_output, to_maps
from medrob.models.probe import named_layers
