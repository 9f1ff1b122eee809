"""Networks of one's own: what their code knows, whether they take the images and give logits."""

import contextlib
import copy
from typing import Any

import torch
from torch import nn

from medrob.config import scale
from medrob.models.network import CHANGED, Classifier
from medrob.models.passes import check_logits, evaluating

# Networks whose images are normalised alike whatever their weights, by the package that they come from.
PACKAGES = {"torchxrayvision": [-1024, 1024]}


def carried(network: nn.Module) -> tuple[Any, Any, str]:
    """Mean and spread in shares of 255 that a network was trained with, as it says itself, and who says it.

    timm and Hugging Face write it beside the weights that they load; None twice where nothing is known.
    """
    for module in network.modules():
        if module_range := PACKAGES.get(type(module).__module__.split(".")[0]):
            return *scale(module_range), "torchxrayvision"
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, dict) and "mean" in config:
            return config["mean"], config["std"], "timm"
        if name := getattr(getattr(module, "config", None), "_name_or_path", ""):
            with contextlib.suppress(Exception):  # no such settings, or no connection
                from transformers import AutoImageProcessor

                found = AutoImageProcessor.from_pretrained(name)
                scaled = (found.image_mean, found.image_std) if found.do_normalize else (0.0, 1.0)
                return *scaled, "Hugging Face"
    return None, None, ""


def check_outputs(model: Classifier, size: int) -> list[str]:
    """Refuse a network that does not take images of a side, or whose outputs are no logits of the classes.

    Returns:
        What is made of its images and outputs to get logits, in words.
    """
    arch, own = model.config["arch"], model.own
    if own and any(p.is_meta for p in model.parameters()):  # only its form is looked at
        return []
    shape = (2, model.config["in_channels"], size, size)
    like = next(model.parameters(), torch.empty(0))
    noise = torch.randint(256, shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    images = noise.to(like.device, torch.float32)
    said: list[str] = []
    for mode in ("", " in training") if own else ("",):  # some give more when they are trained
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(model):
                logits, made = (copy.deepcopy(model).train() if mode else model).explained(images)
        except Exception as error:  # whatever the network's own code raises
            raise ValueError(f"arch={arch!r} does not take images of shape {shape}{mode}: {error}") from error
        check_logits(logits, f"arch={arch!r}{mode}", len(images), model.config["num_classes"])
        said += [f"{text}{mode}" for text in made if text not in said]
        if CHANGED in "".join(made) and ((logits >= 0) & (logits <= 1)).all():
            raise ValueError(
                f"arch={arch!r} gives probabilities: {made[-1]}; let it give the logits before "
                "(TorchXRayVision's do with op_threshs = None)"
            )
    return said
