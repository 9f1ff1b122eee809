"""Networks in the run folder: weights as safetensors, and how to build them as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medrob.files import atomic
from medrob.models.build import build
from medrob.models.network import Classifier
from medrob.models.weights import load_arrays


def save(model: Classifier, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` (how to build it) into a folder, whole or not at all."""
    with atomic(folder / "model.safetensors") as file:
        # Copies: weights that two layers share are written twice.
        save_file({k: v.clone().contiguous() for k, v in model.state_dict().items()}, file)
        file.chmod(0o644)  # readable like the files beside it
    with atomic(folder / "model.json") as file:
        file.write_text(json.dumps(model.config, indent=1) + "\n")


def load(folder: Path) -> Classifier:
    """The network that `save` wrote, in eval mode, on the CPU.

    Raises:
        FileNotFoundError, ValueError: the files are missing, damaged or do not fit each other; a network of
            your own (`wrap`), which only you can build.
    """
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing: the notebook 02_train trains a network and writes it there"
            )
    try:
        config = json.loads((folder / "model.json").read_text())
        if isinstance(config, dict) and "backbone" in config:
            raise ValueError(
                f"{folder / 'model.json'} tells of a network of your own, {config['backbone']}: build it, "
                "`wrap` it and give it these weights: "
                "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
            )
        model = build(**config)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{folder / 'model.json'} is damaged ({error}); train again") from None
    file = folder / "model.safetensors"
    try:
        load_arrays(model, load_file(file))
    except (SafetensorError, RuntimeError, OSError) as error:
        width = f", width {config['width']}" if "width" in config else ""
        raise ValueError(f"weights={str(file)!r} do not fit {config['arch']}{width}: {error}") from None
    return model.eval()
