"""The run folder: where a run keeps its tables, and the record of what made them."""

from medrob.runs.facts import PACKAGES, peak_gpu_memory_mb, peak_memory_mb
from medrob.runs.files import atomic, checksum, home
from medrob.runs.parameters import assignments, fits
from medrob.runs.run import Run
from medrob.runs.stages import STAGES

__all__ = [
    "PACKAGES",
    "STAGES",
    "Run",
    "assignments",
    "atomic",
    "checksum",
    "fits",
    "home",
    "peak_gpu_memory_mb",
    "peak_memory_mb",
]
