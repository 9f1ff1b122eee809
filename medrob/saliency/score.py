"""Score CAMs and ablation: channels weighed by what the network says when it sees, or lacks, them.

A job is one image with one channel: jobs of all images run together, in chunks. No gradient is used.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medrob.models import channel_axis, forward, map_output
from medrob.saliency.gradient import Batch, Layers, Maps, Settings

CPU_CHUNK = 16  # masked images for each thread in one pass on a CPU: larger passes leave its cache
FLAT = 1e-6  # a map whose spread is below this share of its size is flat up to rounding, and makes no mask


def scorecam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """The mask as it is (Wang et al. 2020, Score-CAM)."""
    yield H


def sscam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """Noisy copies of the mask, not clipped (Wang et al. 2020, SS-CAM, noise on the maps)."""
    for field in fields:
        yield H + settings.noise * field


def iscam(H: Tensor, fields: Tensor, settings: Settings) -> Iterator[Tensor]:
    """The mask at i/N of its strength, i = 1 to N (Naidu et al. 2020, IS-CAM)."""
    for i in range(1, settings.samples + 1):
        yield H * (i / settings.samples)


# What the network is shown for a mask H (M, 1, H, W), 0-1; fields are standard normal (samples, M, 1, H, W).
# The score of a channel is the mean over them.
Masks = Callable[[Tensor, Tensor, Settings], Iterator[Tensor]]
MASKS: dict[str, Masks] = {"scorecam": scorecam, "sscam": sscam, "iscam": iscam}
SCORE_CAMS = (*MASKS, "ablationcam")


def score_cams(batch: Batch, methods: Sequence[str], layers: Layers) -> Maps:
    """Raw maps by methods of `SCORE_CAMS`, at all layers.

    The masks multiply the grey levels 0-255, so that what is masked is black, whatever the network does to
    its input. One noise field for each image and sample serves all channels, layers and copies of the image.
    Scores are logits; the softmax runs over the channels looked at (`Settings.channels`), others weigh 0.
    """
    found: Maps = {}
    calls: Counter[str] = Counter()  # of each layer in one pass: its maps are those of the last time
    with torch.no_grad():
        with contextlib.ExitStack() as stack:
            for layer, module in layers.items():
                count = module.register_forward_hook(lambda *_, layer=layer: calls.update([layer]))
                stack.enter_context(count)
            outputs, logits = forward(batch.model, batch.x.clone(), layers)
        fields = torch.stack([*batch.fields(1)])
        for layer, module in layers.items():
            A = map_output(layer, outputs[layer], module)
            order = torch.linalg.vector_norm(A, dim=(2, 3)).sort(dim=1, descending=True, stable=True).indices
            kept = order[:, : batch.settings.channels or None]
            for method in methods:
                if method == "ablationcam":
                    place = (module, calls[layer], channel_axis(module, outputs[layer]))
                    w = _ablation_weights(batch, A, kept, logits, place)
                else:
                    w = _mask_weights(batch, A, kept, fields, MASKS[method])
                weights = torch.zeros_like(A[:, :, 0, 0]).scatter(1, kept, w)
                found[method, layer] = torch.einsum("nk,nkhw->nhw", weights, A)
    return found


def _scores(
    batch: Batch, kept: Tensor, empty: Tensor, chunk: int, run: Callable[[Tensor, Tensor], Iterable[Tensor]]
) -> Tensor:
    """Scores (N, C) of channels `kept`; those of an image that are `empty`, bool (N, K), are one job.

    `run` gives logits (M, classes), once or more, of jobs: images and channels, where K is all empty ones.
    """
    n, k = empty.shape
    image = torch.arange(n, device=kept.device)[:, None]
    jobs, place = (image * (k + 1) + torch.where(empty.gather(1, kept), k, kept)).unique(return_inverse=True)
    scores = []
    for part in jobs.split(chunk):
        image, channel = part // (k + 1), part % (k + 1)
        explained = [logits.gather(1, batch.targets[image, None])[:, 0] for logits in run(image, channel)]
        scores.append(torch.stack(explained).mean(0))
    return torch.cat(scores)[place]


def _mask_weights(batch: Batch, A: Tensor, kept: Tensor, fields: Tensor, shown: Masks) -> Tensor:
    """Softmax over the channels looked at, (N, C), of the scores of the masked images."""

    def run(image: Tensor, channel: Tensor) -> Iterator[Tensor]:
        x, maps = batch.x[image], A[image, channel.clamp_max(A.shape[1] - 1), None]
        # Enlarged, then each to 0-1; 0 for the job of empty ones.
        H = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)
        low = H.amin((2, 3), keepdim=True)
        spread = H.amax((2, 3), keepdim=True) - low
        H = (H - low) / torch.where(spread > 0, spread, 1)
        H = torch.where((channel < A.shape[1])[:, None, None, None], H, 0)
        for M in shown(H, fields[:, image], batch.settings):
            yield batch.model(x * M)

    high, low = A.amax((2, 3)), A.amin((2, 3))
    flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
    most = CPU_CHUNK * torch.get_num_threads() if A.is_cpu else batch.settings.chunk
    return _scores(batch, kept, flat, min(most, batch.settings.chunk), run).softmax(1)


def _ablation_weights(
    batch: Batch, A: Tensor, kept: Tensor, logits: Tensor, place: tuple[nn.Module, int, int]
) -> Tensor:
    """w_k = (Y - Y_k) / |Y|, (N, C), Y_k without channel k (Desai & Ramaswamy 2020).

    The paper divides by Y, a share of a positive score. The zero of a logit means nothing: the size is
    taken, so that a channel that supports the class weighs more than 0 whatever the sign of Y; 1 where Y is
    0 up to rounding. Only the scale of the raw map depends on it.
    """

    def run(image: Tensor, channel: Tensor) -> list[Tensor]:
        # What comes before the layer runs once for each image, and is handed on once for each job. Where
        # something that passes by the layer cannot meet these (a DenseNet), it runs for each job.
        once, copies = image.unique(return_inverse=True)
        with contextlib.suppress(RuntimeError, ValueError, AssertionError), _without(*place, copies, channel):
            ablated = batch.model(batch.x[once])
            if len(ablated) == len(image):
                return [ablated]
        with _without(*place, torch.arange(len(image), device=image.device), channel):
            return [batch.model(batch.x[image])]

    drops = _scores(batch, kept, (A == 0).all(3).all(2), batch.settings.chunk, run)
    Y = logits.gather(1, batch.targets[:, None])
    return (Y - drops) / torch.where(Y.abs() > torch.finfo(Y.dtype).eps, Y.abs(), 1)


def _without(module: nn.Module, call: int, axis: int, copies: Tensor, channel: Tensor) -> RemovableHandle:
    """In that call, a module gives its output of the images `copies` (M,), each with one channel set to 0."""
    calls = itertools.count(1)

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if next(calls) != call:
            return output
        ablated = output[copies].movedim(axis, 1)
        (real,) = torch.nonzero(channel < ablated.shape[1], as_tuple=True)
        ablated[real, channel[real]] = 0
        return ablated.movedim(1, axis)

    return module.register_forward_hook(hook)
