"""Saliency maps: where a network looks. All gradient CAMs of all layers come from one pass of a batch."""

from medrob.saliency.explainer import (
    INPUT,
    ONE_PASS,
    STOCHASTIC,
    Explainer,
    Key,
    attribute,
    check_methods,
    degenerate,
    explain,
    identity,
    layers_for,
    layers_of,
    names,
    normalise,
    same_decision,
    upsample,
)
from medrob.saliency.of_layers import Noise, Settings, cams
