"""From scores and drift to the answer: does the map move where the network fails?"""

from medrob.analysis.answer import say_answer, summary
from medrob.analysis.associations import association, say_association
from medrob.analysis.failures import best_warning, failure, roc, say_best, say_failure
from medrob.analysis.images import margin_drop, moved_and_fell, per_image, say_per_image
from medrob.analysis.maps import distinct, headline, mean_drift, say_drift, say_twins, strata, twins
from medrob.analysis.runs import compare_runs, repetitions, say_runs
from medrob.analysis.stability import agreement, kendall_w, ranks, say_ranks
from medrob.analysis.testing import adjust, all_tests, family, holm
from medrob.analysis.trust import (
    failed,
    say_faithfulness,
    say_localisation,
    say_randomisation,
    verdicts,
)
from medrob.analysis.worth import added, risk_area, risk_coverage, say_added, say_risk

__all__ = [
    "added",
    "adjust",
    "agreement",
    "all_tests",
    "association",
    "best_warning",
    "compare_runs",
    "distinct",
    "failed",
    "failure",
    "family",
    "headline",
    "holm",
    "kendall_w",
    "margin_drop",
    "mean_drift",
    "moved_and_fell",
    "per_image",
    "ranks",
    "repetitions",
    "risk_area",
    "risk_coverage",
    "roc",
    "say_added",
    "say_answer",
    "say_association",
    "say_best",
    "say_drift",
    "say_failure",
    "say_faithfulness",
    "say_localisation",
    "say_per_image",
    "say_randomisation",
    "say_ranks",
    "say_risk",
    "say_runs",
    "say_twins",
    "strata",
    "summary",
    "twins",
    "verdicts",
]
