"""Score CAMs and ablation: channels weighed by what the network says when it sees, or lacks, them.

The maps are raw, sum_k w_k A_k before the ReLU, at the layer's resolution. A job is one image with one
channel: jobs of all images run together, in chunks. No gradient is used.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medrob.models import as_input, channel_axis, forward, map_output
from medrob.saliency.gradient import existing
from medrob.saliency.settings import Noise, Settings

# Masked images for each thread in one pass on a CPU: larger passes leave its cache, and are slower.
CPU_CHUNK = 16
# A map whose spread is below this share of its size is flat up to rounding, and makes no mask.
FLAT = 1e-6


def scorecam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """The mask as it is (Wang et al. 2020, Score-CAM)."""
    yield H


def sscam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """Noisy copies of the mask, not clipped (Wang et al. 2020, SS-CAM, noise on the maps)."""
    for field in fields:
        yield H + settings.noise * field.to(H.dtype)


def iscam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """The mask at i/N of its strength, i = 1 to N (Naidu et al. 2020, IS-CAM)."""
    for i in range(1, settings.samples + 1):
        yield H * (i / settings.samples)


# What the network is shown for a mask H (M, 1, H, W), 0-1; fields are standard normal (samples, M, 1, H, W).
# The score of a channel is the mean over them.
MASKS: dict[str, Callable[[Tensor, Tensor, Settings], Iterator[Tensor]]] = {
    "scorecam": scorecam,
    "sscam": sscam,
    "iscam": iscam,
}
SCORE_CAMS = (*MASKS, "ablationcam")


@dataclass(frozen=True)
class _Question:
    """A batch: the network, its images in floating point, and the classes explained."""

    model: nn.Module
    x: Tensor
    targets: Tensor

    def score(self, logits: Tensor, image: Tensor) -> Tensor:
        """The logit explained, (M,), in at least float32, of each job's image."""
        return _precise(logits.gather(1, self.targets[image, None])[:, 0])


def score_cams(
    model: nn.Module,
    x: Tensor,
    methods: Sequence[str],
    layers: Mapping[str, nn.Module],
    targets: Tensor,
    settings: Settings,
    noise: Noise,
) -> dict[tuple[str, str], Tensor]:
    """Score CAMs and Ablation-CAM of a batch, at all layers.

    The masks multiply the grey levels 0-255, so that what is masked is black, whatever the network does to
    its input. One noise field for each image and sample serves all channels, layers and copies of the image.
    Scores are logits; the softmax runs over the channels looked at (`Settings.channels`), others weigh 0.

    Args:
        model: in eval mode. x: its input (N, C, H, W), grey levels 0-255, left as it is.
        methods: of `SCORE_CAMS`. layers: name -> module. targets: int64 (N,), the class explained.
        settings: `samples`, `noise`, `channels` and `chunk` are used. noise: see `Noise`.

    Returns:
        ``{(method, layer): raw maps (N, h, w)}``, on the model's device. The network runs N times the
        channels for "scorecam" and "ablationcam", and `samples` times as often for the others; channels
        without content, which make the same black image, run once for each image.

    Raises:
        ValueError: a layer that takes no part or whose output is no map; a class that does not exist.
    """
    found = {}
    model = getattr(model, "_orig_mod", model)  # compiled by torch.compile, it would pass by the hooks
    with torch.inference_mode():
        outputs, logits = forward(model, as_input(model, x), layers)
        targets = existing(targets.to(logits.device), logits.shape[1])
        question = _Question(model, as_input(model, x), targets)
        fields = _fields(x, settings, noise).to(logits.device) if "sscam" in methods else logits.new_zeros(0)
        calls = _calls(model, question.x[:1], layers) if "ablationcam" in methods else {}
        for layer, module in layers.items():
            A = _precise(map_output(layer, outputs[layer], module))
            kept = _channels(A, settings.channels)
            for method in methods:
                if method == "ablationcam":
                    hook = _Ablation(module, calls[layer], channel_axis(module, outputs[layer]))
                    w = _ablation_weights(question, A, kept, hook, logits, settings)
                else:
                    w = _mask_weights(question, A, kept, MASKS[method], fields, settings)
                weights = torch.zeros_like(A[:, :, 0, 0]).scatter(1, kept, w)
                found[method, layer] = torch.einsum("nk,nkhw->nhw", weights, A)
    return {key: maps.clone() for key, maps in found.items()}  # outside inference mode: ordinary tensors


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums over channels and positions leave the range of half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _fields(x: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """The noise of all masks of an image, (samples, N, 1, H, W)."""
    shape = (1, *x.shape[2:])
    return torch.stack([noise.normal(shape, x.device, i) for i in range(settings.samples)])


def _channels(A: Tensor, limit: int) -> Tensor:
    """The channels looked at, int64 (N, C): all, or the `limit` of most energy in each image."""
    energy = torch.linalg.vector_norm(A, dim=(2, 3))
    return energy.sort(dim=1, descending=True, stable=True).indices[:, : limit or None]


def _jobs(kept: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """What has to be run for channels (N, C) of each image, some of them empty, bool (N, K).

    Returns:
        Jobs int64 (M, 2), image and channel, where channel K stands for all empty ones of an image; and
        the place of each channel's job, (N, C).
    """
    n, k = empty.shape
    image = torch.arange(n, device=kept.device)[:, None]
    codes = image * (k + 1) + torch.where(empty.gather(1, kept), k, kept)
    found, place = codes.unique(return_inverse=True)
    return torch.stack([found // (k + 1), found % (k + 1)], 1), place


def _mask_weights(
    question: _Question,
    A: Tensor,
    kept: Tensor,
    shown: Callable[[Tensor, Tensor, Settings], Iterator[Tensor]],
    fields: Tensor,
    settings: Settings,
) -> Tensor:
    """Softmax over the channels looked at, (N, C), of the scores of the masked images."""
    high, low = A.amax((2, 3)), A.amin((2, 3))
    jobs, place = _jobs(kept, high - low <= FLAT * torch.maximum(high.abs(), low.abs()))
    chunk = min(settings.chunk, CPU_CHUNK * torch.get_num_threads()) if A.is_cpu else settings.chunk
    scores = []
    for part in jobs.split(chunk):
        image, x = part[:, 0], question.x[part[:, 0]]
        H = _masks(A, part, x.shape[2:])
        noisy = fields[:, image] if len(fields) else fields
        each = [question.score(question.model((x * M).to(x.dtype)), image) for M in shown(H, noisy, settings)]
        scores.append(torch.stack(each).mean(0))
    return torch.cat(scores)[place].softmax(1)


def _masks(A: Tensor, jobs: Tensor, size: torch.Size) -> Tensor:
    """H_k (M, 1, H, W): maps enlarged, bilinear, then each to 0-1; 0 for the job of empty ones."""
    image, channel = jobs.unbind(1)
    maps = A[image, channel.clamp_max(A.shape[1] - 1), None]
    H = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    low = H.amin((2, 3), keepdim=True)
    spread = H.amax((2, 3), keepdim=True) - low
    H = (H - low) / torch.where(spread > 0, spread, 1)
    return torch.where((channel < A.shape[1])[:, None, None, None], H, 0)


@dataclass(frozen=True)
class _Ablation:
    """A layer's module, the number of its last call in a forward pass, and the axis of its channels."""

    module: nn.Module
    call: int
    axis: int

    @contextlib.contextmanager
    def without(self, copies: Tensor, channel: Tensor) -> Iterator[None]:
        """The layer gives the output of the images `copies` (M,), each with its own channel set to 0."""
        calls = 0

        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls != self.call:
                return output
            ablated = output[copies].movedim(self.axis, 1)
            (real,) = torch.nonzero(channel < ablated.shape[1], as_tuple=True)
            ablated[real, channel[real]] = 0
            return ablated.movedim(1, self.axis)

        handle = self.module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def logits(self, model: nn.Module, x: Tensor, image: Tensor, channel: Tensor) -> Tensor:
        """What the network says of each image (M,) without its channel, (M, classes).

        What comes before the layer runs once for each image, and is handed on once for each job. Where
        something that passes by the layer cannot meet these (a DenseNet), it runs for each job.
        """
        once, place = image.unique(return_inverse=True)
        with contextlib.suppress(RuntimeError, ValueError, AssertionError), self.without(place, channel):
            found = model(x[once])
            if len(found) == len(image):
                return found
        with self.without(torch.arange(len(image), device=image.device), channel):
            return model(x[image])


def _ablation_weights(
    question: _Question, A: Tensor, kept: Tensor, hook: _Ablation, logits: Tensor, settings: Settings
) -> Tensor:
    """w_k = (Y - Y_k) / |Y|, (N, C), Y_k without channel k (Desai & Ramaswamy 2020).

    The paper divides by Y, a share of a positive score. The zero of a logit means nothing: the size is
    taken, so that a channel that supports the class weighs more than 0 whatever the sign of Y. Where Y is 0
    up to rounding, the drop itself is the weight. Either way only the scale of the raw map depends on it.
    """
    jobs, place = _jobs(kept, (A == 0).all(3).all(2))
    scores = [
        question.score(hook.logits(question.model, question.x, *part.unbind(1)), part[:, 0])
        for part in jobs.split(settings.chunk)
    ]
    everything = torch.arange(len(A), device=A.device)
    Y = question.score(logits, everything)[:, None]
    size = torch.where(Y.abs() > torch.finfo(logits.dtype).eps, Y.abs(), 1)
    return (Y - torch.cat(scores)[place]) / size


def _calls(model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module]) -> Counter[str]:
    """How often each layer runs in a forward pass; its maps are those of the last time."""
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        for layer, module in layers.items():
            handle = module.register_forward_hook(lambda *_, layer=layer: counts.update([layer]))
            stack.callback(handle.remove)
        model(x.clone())  # which the network may change in place
    return counts
