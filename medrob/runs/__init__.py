"""The run folder: where a run keeps its tables, and the record of what made them."""

from medrob.runs.parameters import assignments, fits
from medrob.runs.run import Run
from medrob.runs.stages import STAGES

__all__ = [
    "STAGES",
    "Run",
    "assignments",
    "fits",
]
