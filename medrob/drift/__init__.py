"""Drift: how far the maps of corrupted images move from the map of the clean one."""

from medrob.drift.choice import SELECTIONS, TARGETS, example, explained, explained_under, select, targets
from medrob.drift.measurement import measure

__all__ = ["SELECTIONS", "TARGETS", "example", "explained", "explained_under", "measure", "select", "targets"]
