"""What every network is here: its first layer normalises, so clean and corrupted images are treated alike."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from medrob.models.outputs import KINDS, OTHER, Activations, ending, one_tensor

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet14": (BasicBlock, (2, 2, 2)),  # three stages, as He et al. (2016) had them for small pictures
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


class Normalise(nn.Module):
    """Grey levels 0-255, of any dtype, to (x / 255 - mean) / std in float; a number, or one a channel."""

    def __init__(self, mean: float | Sequence[float] = 0.5, std: float | Sequence[float] = 0.5) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in, the same shape out."""
        x = x if x.is_floating_point() else x.float()
        if isinstance(self.mean, (int, float)) and isinstance(self.std, (int, float)):
            return x * (1 / (255 * self.std)) - self.mean / self.std
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return x * (1 / (255 * std)) - mean / std


class ResNet(torchvision.models.ResNet):
    """A residual network (He et al. 2016) of selectable width, with torchvision's parameter names.

    With ``width=64`` and ``stem="torchvision"`` it is torchvision's network, and takes its weights.
    The small stem is a 3x3 convolution of stride 1 without pooling, for images of 28-128 pixels.
    """

    def __init__(self, arch: str, in_channels: int, num_classes: int, stem: str, width: int) -> None:
        nn.Module.__init__(self)  # torchvision's own would build 64 channels and four stages
        block, depths = RESNETS[arch]
        kernel, stride = {"small": (3, 1), "torchvision": (7, 2)}[stem]
        self._norm_layer, self.inplanes = nn.BatchNorm2d, width
        self.dilation, self.groups, self.base_width = 1, 1, 64
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, 2, 1)
        for i in range(4):
            stage: nn.Module = nn.Identity()  # a fourth that there is not
            if i < len(depths):
                stage = self._make_layer(block, width * 2**i, depths[i], stride=2 if i else 1)
            setattr(self, f"layer{i + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.inplanes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class DenseNet(nn.Sequential):
    """torchvision's network and parameter names, its last ReLU a module: maps are taken after it."""

    def __init__(self, network: torchvision.models.DenseNet) -> None:
        network.features.add_module("relu5", nn.ReLU(inplace=True))
        pool = [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
        super().__init__(
            OrderedDict([("features", network.features), *pool, ("classifier", network.classifier)])
        )


class Classifier(nn.Module):
    """Normalise -> backbone. Takes grey levels 0-255 (N, C, H, W), gives logits (N, num_classes).

    `config` are the arguments of `build` that make it again; `origin` says where the weights come from, and
    `new` which tensors of the head are not from there, `unused` which layers there it does not have; `names`
    how outputs may be called, by who says it.
    """

    def __init__(
        self, backbone: nn.Module, config: dict[str, Any], normalise: Normalise, origin: str = ""
    ) -> None:
        super().__init__()
        parallel = isinstance(backbone, nn.DataParallel)
        self.normalise, self.backbone = normalise, backbone.get_submodule("module" if parallel else "")
        self.config, self.origin, self.new, self.unused = config, origin, "", ""
        self.names: dict[str, list[str]] = {}

    def train(self, mode: bool = True) -> Self:
        """By the network's own `train` or `eval`, which may do more than set `training`."""
        self.training = self.normalise.training = mode
        _ = self.backbone.train() if mode else self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), uint8 or float with grey levels 0-255, to logits (N, num_classes)."""
        return self.explained(x)[0]

    @property
    def own(self) -> bool:
        """Whether it is of unknown make: the user's function, or a module that was wrapped."""
        return ":" in self.config.get("arch", "").removeprefix("timm:")

    def explained(self, x: Tensor) -> tuple[Tensor, list[str]]:
        """The logits of images, and what was made of them and of the network's outputs to get these.

        Of a network of one's own: grey images are repeated where it takes three channels; of several outputs
        one is taken; a last softmax or sigmoid is undone; one logit z becomes two, -z/2 and z/2, since their
        softmax is the sigmoid of z, and both have a gradient. Other probabilities are refused.
        """
        given, classes = self.config.get("in_channels", x.shape[1]), self.config["num_classes"]
        if x.ndim == 4 and x.shape[1] != given:
            raise ValueError(
                f"the network takes images of {given} channel{'s'[: given > 1]} (1 = grey, 3 = RGB), and "
                f"these have {x.shape[1]}; `channels` of notebook 01 makes images grey or RGB"
            )
        if (taken := self.config.get("repeated", given)) != given:
            x = x.expand(-1, taken, -1, -1)
        x = self.normalise(ordered(x, memory_order(self, x.device)))
        if self.own and "ending" not in self.config and len(x) and not x.is_meta:
            self.config["ending"] = ending(self.backbone, x, classes)
        logits, said = self._undone(x) if self.own else (self.backbone(x), [])
        order = self.config.get("order")
        return logits[:, order] if order else logits, said

    def _undone(self, x: Tensor) -> tuple[Any, list[str]]:
        """See `explained`: what is made of the outputs of a network of one's own."""
        classes, ends = self.config["num_classes"], (self.config.get("ending") or [""])[-1]
        with Activations() as activations:
            output = self.backbone(x)
        logits, chosen = one_tensor(output, (len(x), classes))
        said = [chosen] if chosen else []
        if not isinstance(logits, Tensor):
            return logits, said
        multilabel = self.config.get("task") == "multilabel"
        if undone := activations.undone(logits):
            kind, logits = undone
            ours = "sigmoid" if multilabel else "softmax"
            unlike = kind.removeprefix("log_") != ours and logits.shape[1:] != (1,)
            followed = f", and {ours} is taken of them instead" if unlike else ""
            said.append(f"what its last {kind} takes are the logits{followed}")
        elif ends.startswith((OTHER, *KINDS)) and not x.is_meta:
            raise ValueError(
                "the network gives probabilities, or other bounded numbers, that are not simply PyTorch's "
                "softmax or sigmoid of its logits; let it give the logits, or the logarithms of such "
                "probabilities (TorchXRayVision's give logits with op_threshs = None)"
            )
        elif ends:
            said.append(f"its outputs {ends}, whatever its last layer gives, and are taken as logits")
        if classes == 2 and logits.shape == (len(x), 1) and logits.is_floating_point() and not multilabel:
            logits = logits * logits.new_tensor([-0.5, 0.5])
            said.append("its one logit z becomes two, -z/2 and z/2")
        return logits, said


def pick_device(device: str = "auto") -> torch.device:
    """The device by name, if this machine has it; "auto" = CUDA if there is one, then MPS, then the CPU."""
    if device == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); "
            "give 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'"
        ) from None


def memory_order(model: nn.Module, device: torch.device) -> torch.memory_format:
    """The order of images and weights that is fast on a device: channels last.

    The usual one is kept for networks of unknown make, as many take their maps to lie so; on MPS, where
    PyTorch's batch norm failed (its pull request 188371); and on the CPU where a convolution of 1x1 pixels
    with a stride has fewer than 16 input channels, as the shortcuts of narrow ResNets: its backward pass
    writes outside its memory (PyTorch 2.15, with AVX2 below 8 channels, with AVX-512 below 16).
    """
    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    unsafe = any(c.in_channels < 16 and max(c.kernel_size) == 1 < max(c.stride) for c in convs)
    config = getattr(model, "config", None)
    unknown = not isinstance(config, Mapping) or ":" in str(config.get("arch", ":"))
    usual = unknown or device.type == "mps" or (device.type == "cpu" and unsafe)
    return torch.contiguous_format if usual else torch.channels_last


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its weights in the order that is fast there."""
    return model.to(device, memory_format=memory_order(model, device))  # type: ignore[call-overload]


def ordered(x: Tensor, order: torch.memory_format) -> Tensor:
    """Images (N, C, H, W) in that order, by their strides too, which decide where there is one channel."""
    if order == torch.channels_last or x.ndim != 4:
        return x.to(memory_format=order)
    lie_so = x.is_contiguous() and x.stride(1) == x.shape[2] * x.shape[3]
    return x if lie_so else x.clone(memory_format=order)
