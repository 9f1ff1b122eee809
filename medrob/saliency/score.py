"""Score CAMs: channels weighed by what the network says when it sees the picture through them.

A job is one image with one channel: jobs of all images run together, in chunks. No gradient is used.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medrob.models import forward, map_output
from medrob.saliency.gradient import Batch, Layers, Maps, Settings

FLAT = 1e-6  # a map whose spread is below this share of its size is flat up to rounding: its mask is black


# What the network is shown for a mask H (M, 1, H, W), 0-1; fields are standard normal (samples, M, 1, H, W).
# The score of a channel is the mean over them. To add a method, enter its function here.
Masks = Callable[[Tensor, Tensor, Settings], Iterable[Tensor]]
MASKS: dict[str, Masks] = {
    # The mask as it is (Wang et al. 2020, Score-CAM).
    "scorecam": lambda H, fields, settings: [H],
    # Noisy copies of the mask, not clipped (Wang et al. 2020, SS-CAM, noise on the maps).
    "sscam": lambda H, fields, settings: (H + settings.noise * field for field in fields),
    # The mask at i/N of its strength, i = 1 to N (Naidu et al. 2020, IS-CAM).
    "iscam": lambda H, fields, settings: (H * ((i + 1) / settings.samples) for i in range(settings.samples)),
}


def score_cams(batch: Batch, methods: Sequence[str], layers: Layers) -> Maps:
    """Raw maps by methods of `MASKS`, at all layers.

    The masks multiply the grey levels 0-255, so that what is masked is black, whatever the network does to
    its input. One noise field for each image and sample serves all channels, layers and copies of the image.
    Scores are logits; the softmax runs over the channels looked at (`Settings.channels`), others weigh 0.
    """
    found: Maps = {}
    with torch.no_grad():
        outputs, _ = forward(batch.model, batch.x.clone(), layers)
        fields = torch.stack([*batch.fields(1)])
        for layer, module in layers.items():
            A = map_output(layer, outputs[layer], module)
            order = torch.linalg.vector_norm(A, dim=(2, 3)).sort(dim=1, descending=True, stable=True).indices
            kept = order[:, : batch.settings.channels or None]
            for method in methods:
                scores = _scores(batch, A, kept, fields, MASKS[method])
                weights = torch.zeros_like(A[:, :, 0, 0]).scatter(1, kept, scores.softmax(1))
                found[method, layer] = torch.einsum("nk,nkhw->nhw", weights, A)
    return found


def _scores(batch: Batch, A: Tensor, kept: Tensor, fields: Tensor, shown: Masks) -> Tensor:
    """The logit of each image's class when it is seen through each of the channels `kept`: (N, C)."""
    images = torch.arange(len(kept), device=kept.device).repeat_interleave(kept.shape[1])
    jobs = torch.stack([images, kept.flatten()])
    scores = []
    for image, channel in jobs.split(batch.settings.chunk, dim=1):
        x, maps = batch.x[image], A[image, channel, None]
        H = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)
        low, high = H.amin((2, 3), keepdim=True), H.amax((2, 3), keepdim=True)
        flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
        H = torch.where(flat, 0, (H - low) / (high - low))
        logits = [batch.model(x * M) for M in shown(H, fields[:, image], batch.settings)]
        scores.append(torch.stack(logits).mean(0).gather(1, batch.targets[image, None])[:, 0])
    return torch.cat(scores).view_as(kept)
