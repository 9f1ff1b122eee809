"""From scores and drift to the answer: does the map move where the network fails?"""

from medrob.analysis.added import added, say_added
from medrob.analysis.answer import summary
from medrob.analysis.associations import association
from medrob.analysis.correction import adjust, all_tests, family, holm
from medrob.analysis.evidence import distinct, say_twins, twins
from medrob.analysis.failures import best_warning, failure, roc
from medrob.analysis.images import margin_drop, moved_and_fell, per_image
from medrob.analysis.means import headline, mean_drift, strata
from medrob.analysis.runs import compare_runs, say_runs
from medrob.analysis.sanity import failed, say_localisation, say_randomisation, verdicts
from medrob.analysis.selective import risk_area, risk_coverage, say_risk
from medrob.analysis.stability import agreement, kendall_w, ranks, say_ranks
from medrob.analysis.words import say_answer, say_association, say_best, say_failure, say_per_image

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
    "risk_area",
    "risk_coverage",
    "roc",
    "say_added",
    "say_answer",
    "say_association",
    "say_best",
    "say_failure",
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
