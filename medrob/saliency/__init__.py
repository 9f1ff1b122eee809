"""Saliency maps: where a network looks. All gradient CAMs of all layers come from one pass of a batch."""

from medrob.saliency.explainer import (
    INPUT,
    STOCHASTIC,
    Explainer,
    Key,
    check_methods,
    degenerate,
    explain,
    identity,
    layers_of,
    names,
    normalise,
    same_decision,
    upsample,
)
from medrob.saliency.of_layers import Noise, Settings
