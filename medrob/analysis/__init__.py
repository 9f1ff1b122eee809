"""From scores and drift to the answer: does the map move where the network fails?"""

from medrob.analysis.answer import answers, declared, summary
from medrob.analysis.associations import association
from medrob.analysis.best import beside, best_warning
from medrob.analysis.failures import failure, roc
from medrob.analysis.images import margin_drop, moved_and_fell, per_image
from medrob.analysis.maps import (
    distinct,
    headline,
    mean_drift,
    strata,
    twins,
)
from medrob.analysis.question import answers_of_runs, ask
from medrob.analysis.runs import compare_runs, repetitions
from medrob.analysis.sensitivity import sensitivity
from medrob.analysis.stability import agreement, kendall_w, ranks
from medrob.analysis.testing import adjust, all_tests, family, holm
from medrob.analysis.trust import (
    failed,
    faithfulness_table,
    verdicts,
)
from medrob.analysis.worth import added, risk

__all__ = [
    "added",
    "adjust",
    "agreement",
    "all_tests",
    "answers",
    "answers_of_runs",
    "ask",
    "association",
    "beside",
    "best_warning",
    "compare_runs",
    "declared",
    "distinct",
    "failed",
    "failure",
    "faithfulness_table",
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
    "risk",
    "roc",
    "sensitivity",
    "strata",
    "summary",
    "twins",
    "verdicts",
]
