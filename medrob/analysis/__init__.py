"""From scores and drift to the answer: does the map move where the network fails?

`Evidence` holds the tables of a run as arrays; every question is a function of it that gives a table.
"""

from medrob.analysis.added import FOLDS, added
from medrob.analysis.association import WITHIN, association
from medrob.analysis.beside import AHEAD, beside
from medrob.analysis.drift_means import by_layer, mean_drift, strata
from medrob.analysis.evidence import DOUBT, Evidence
from medrob.analysis.failure import best_warning, failure, flip, roc, warnings_at
from medrob.analysis.finding import (
    HOLM,
    LEVEL,
    NO,
    OPEN,
    OPPOSITE,
    SMALL,
    UNDEFINED,
    YES,
    Finding,
    holm,
)
from medrob.analysis.layout import CONDITION, MAP, require_map
from medrob.analysis.lines import drift_by_class, drop_and_drift, lines_over_corruptions, lines_over_images
from medrob.analysis.map_choice import distinct, headline, twins
from medrob.analysis.map_verdicts import FAITHFULNESS, FEWEST, THRESHOLD, failed, faithfulness_table, verdicts
from medrob.analysis.per_image import PER_IMAGE, PER_IMAGE_PARTIAL, moved_and_fell, per_image
from medrob.analysis.questions import QUESTIONS, answers, answers_of_runs, rows_of, sensitivity, tests
from medrob.analysis.quoted import declared, summary
from medrob.analysis.ranks import agreement, ranks
from medrob.analysis.risk import BEST, risk
from medrob.analysis.runs import INDEPENDENT, OVERALL, compare_runs, repetitions

__all__ = [
    "AHEAD",
    "BEST",
    "CONDITION",
    "DOUBT",
    "FAITHFULNESS",
    "FEWEST",
    "FOLDS",
    "HOLM",
    "INDEPENDENT",
    "LEVEL",
    "MAP",
    "NO",
    "OPEN",
    "OPPOSITE",
    "OVERALL",
    "PER_IMAGE",
    "PER_IMAGE_PARTIAL",
    "QUESTIONS",
    "SMALL",
    "THRESHOLD",
    "UNDEFINED",
    "WITHIN",
    "YES",
    "Evidence",
    "Finding",
    "added",
    "agreement",
    "answers",
    "answers_of_runs",
    "association",
    "beside",
    "best_warning",
    "by_layer",
    "compare_runs",
    "declared",
    "distinct",
    "drift_by_class",
    "drop_and_drift",
    "failed",
    "failure",
    "faithfulness_table",
    "flip",
    "headline",
    "holm",
    "lines_over_corruptions",
    "lines_over_images",
    "mean_drift",
    "moved_and_fell",
    "per_image",
    "ranks",
    "repetitions",
    "require_map",
    "risk",
    "roc",
    "rows_of",
    "sensitivity",
    "strata",
    "summary",
    "tests",
    "twins",
    "verdicts",
    "warnings_at",
]
