"""The computer: what a record says of it, its cores, and the progress bars on it."""

import contextlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from tqdm.auto import tqdm

from medrob.files import CLONE, PROJECT

PACKAGES = ("medrob", "numpy", "pandas", "opencv-python", "imaug", "torch", "torchvision", "scikit-learn")


def machine_facts() -> dict[str, Any]:
    """Python, machine, threads of PyTorch, commit and packages, as `Run.keep` records them."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None,
        "git": _git_commit(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def peak_gpu_memory_mb() -> float:
    """Most memory that tensors took on one CUDA device in this process so far, in MB (10^6 bytes); else 0."""
    torch = sys.modules.get("torch")  # a stage without a network has not imported it
    if torch is None or not torch.cuda.is_initialized():
        return 0.0
    return max(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count()))) / 1e6


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_commit() -> str | None:
    """The clone's commit, with ``+changes`` when files differ from it; None outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return done.stdout.strip() if CLONE else None  # else it is that of a project with an environment
    except (OSError, subprocess.CalledProcessError):
        return None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bar(items: Iterable[Any] | None = None, *, desc: str, unit: str, **options: Any) -> Any:
    """A progress bar: a widget in JupyterLab, a line in a terminal, none where MEDROB_PROGRESS is "off".

    Off is for notebooks that run without a reader, so that no bar stays in the executed notebook.
    """
    off = os.environ.get("MEDROB_PROGRESS") == "off"
    return tqdm(items, desc=desc, unit=unit, disable=off, **options)
