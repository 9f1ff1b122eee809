"""Maps per second of five gradient CAMs at eight layers, beside torch-cam and pytorch-grad-cam.

    python tests/benchmarks/bench_saliency.py [--width 64] [--size 28] [--device cuda]

The floor is one forward and one backward pass of the same batch through the same network. torch-cam is run
as a thesis script would (an image, a layer, a method at a time) and at its best (a batch, all layers, one
pass a method; it lacks HiResCAM, so that its four methods count as five). pytorch-grad-cam gives the mean of
the layers it is given, so that each layer needs a call. Both normalise their maps; ours are raw, and
`compare` prepares them: its cost is printed beside. Score-CAM is compared at the
last layer. Times are the best of three rounds: of the processor with one thread, else by the clock.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

os.environ["TQDM_DISABLE"] = "1"  # pytorch-grad-cam's own bar

from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam import methods as torchcam

from medrob import models
from medrob.drift import PreparedMaps, compare
from medrob.saliency import Noise, Settings
from medrob.saliency.of_layers import Batch, cams, score_cams

METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")
TORCHCAM = (torchcam.GradCAM, torchcam.GradCAMpp, torchcam.XGradCAM, torchcam.LayerCAM)
CHANNELS = 64
PEERS = (GradCAM, GradCAMPlusPlus, HiResCAM, XGradCAM, LayerCAM)


def seconds(call: Callable[[], object], device: torch.device, rounds: int = 3) -> float:
    """Best of some rounds."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return best


def floor(model: nn.Module, x: torch.Tensor) -> None:
    """One forward and one backward pass, to the input: what the maps cannot do without."""
    x = x.clone().requires_grad_()
    logits = model(x)
    torch.autograd.grad(logits.amax(1).sum(), x)


def torchcam_one_by_one(model: nn.Module, x: torch.Tensor, layers: Sequence[str]) -> None:
    """An image, a layer, a method at a time."""
    for image in x:
        for layer in layers:
            for method in TORCHCAM:
                with method(model, target_layer=layer, input_shape=tuple(x.shape[1:])) as extract:
                    scores = model(image[None])
                    extract(int(scores.argmax()), scores)


def torchcam_batched(model: nn.Module, x: torch.Tensor, layers: Sequence[str]) -> None:
    """A batch, all layers, a method at a time."""
    for method in TORCHCAM:
        with method(model, target_layer=list(layers), input_shape=tuple(x.shape[1:])) as extract:
            scores = model(x)
            extract(scores.argmax(1).tolist(), scores)


def gradcam_batched(model: nn.Module, x: torch.Tensor, layers: Sequence[nn.Module]) -> None:
    """A batch, a method and a layer at a time."""
    targets = [ClassifierOutputTarget(0)] * len(x)
    for method in PEERS:
        for layer in layers:
            with method(model=model, target_layers=[layer]) as extract:
                extract(input_tensor=x, targets=targets)


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = models.pick_device(options.device)
    model = models.build(in_channels=1, num_classes=2, width=options.width, seed=0).eval().to(device)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch, 1, options.size, options.size), np.uint8)
    x = torch.from_numpy(images).float().to(device)
    layers = models.cam_layers(model)
    names = [f"backbone.{name}" for name in layers]
    maps = options.batch * len(METHODS) * len(layers)
    print(f"ResNet-18, width {options.width}, {options.size} px, batch {options.batch}, {device}")
    least = seconds(lambda: floor(model, x), device)
    ours = seconds(lambda: cams(model, x, METHODS, layers), device)
    few = x[:4]
    one = seconds(lambda: torchcam_one_by_one(model, few, names), device, 1) / len(few) * len(x) * 5 / 4
    batched = seconds(lambda: torchcam_batched(model, x, names), device) * 5 / 4
    peer = seconds(lambda: gradcam_batched(model, x, list(layers.values())), device, 1)
    rows = {
        "the floor: one forward, one backward": least,
        "medrob, all together": ours,
        "torch-cam, one at a time": one,
        "torch-cam, batched": batched,
        "pytorch-grad-cam, batched": peer,
    }
    for name, took in rows.items():
        print(f"{name:38}{took:9.3f} s{maps / took:12,.0f} maps/s{took / ours:9.1f} times medrob's time")
    found, _ = cams(model, x, METHODS, layers)
    clean = [PreparedMaps(torch.cat([found[m, layer] for m in METHODS])) for layer in layers]

    def measure() -> None:
        for layer, maps in zip(layers, clean, strict=True):
            compare(maps, PreparedMaps(torch.cat([found[m, layer] for m in METHODS])))

    measure()  # the clean side is prepared once
    took = seconds(measure, device)
    print(f"{'similarities':38}{took:9.3f} s{took / ours:32.2f} times explain()")
    score_cam(model, x[:8], device)


def score_cam(model: nn.Module, x: torch.Tensor, device: torch.device) -> None:
    """Score-CAM at the last block, and the forward passes that it needs."""
    layers = dict([list(models.cam_layers(model).items())[-1]])
    module = next(iter(layers.values()))
    targets = [ClassifierOutputTarget(0)] * len(x)

    def theirs() -> None:
        with ScoreCAM(model=model, target_layers=[module]) as extract:
            extract(input_tensor=x, targets=targets)

    def batch(settings: Settings) -> Batch:
        zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return Batch(model, models.as_input(model, x), zeros, settings, Noise(0, range(len(x))))

    ours = seconds(lambda: score_cams(batch(Settings()), ["scorecam"], layers), device, 2)
    peer = seconds(theirs, device, 1)
    speeds = f"medrob {len(x) / ours:.1f} maps/s, pytorch-grad-cam {len(x) / peer:.1f}"
    print(f"Score-CAM: {speeds}: {peer / ours:.1f} times")
    few = batch(Settings(channels=CHANNELS))
    capped = seconds(lambda: score_cams(few, ["scorecam"], layers), device, 2)
    print(f"Score-CAM of the {CHANNELS} channels: {peer / capped:.1f} times pytorch-grad-cam of all of them")


if __name__ == "__main__":
    main()
