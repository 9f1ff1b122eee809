"""What is printed of each table: its caption, its rows and columns. The CSV beside it holds all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Printed:
    """A table as it stands in a thesis.

    Attributes:
        caption: plain text; in braces, facts that the notebook gives.
        rows: a query of pandas, with those facts as ``@name``; "" = all rows.
        columns: in this order; () = all.
    """

    caption: str
    rows: str = ""
    columns: tuple[str, ...] = ()

    def select(self, frame: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
        """The rows and columns of a frame that are printed."""
        found = frame.query(self.rows, local_dict=dict(facts)) if self.rows else frame
        found = found[list(self.columns)] if self.columns else found
        return found.replace({"stage": {"": "all"}}) if "stage" in found else found


INTERVAL = ("value", "low", "high")
AT = "method == @key and layer == @layer"
DIFFERENCE = ("difference", "difference_low", "difference_high")
PRINTED = {
    "01_image_distance": Printed("Mean distance of the corrupted from the clean picture."),
    "02_history": Printed("Training history."),
    "03_scores": Printed(
        "AUC at severity 5 and its drop against clean.",
        "severity == 5 and metric == 'auc' and `class` == 'all'",
        ("corruption", *INTERVAL, "drop", "drop_low", "drop_high"),
    ),
    "03_auc": Printed("AUC of all classes, by severity."),
    "03_drop": Printed("Drop of all classes, by severity."),
    "03_classes": Printed("Scores on clean images, over all and for each class."),
    "03_clean": Printed("Scores on clean images, over all classes."),
    "04_localisation": Printed(
        "Maps and lesions, clean and at severity 5; change: against the same images clean.",
        f"{AT} and severity in [0, 5] and stage in ['', 'change']",
        ("corruption", "severity", "stage", "test", "images", *INTERVAL, "chance"),
    ),
    "04_scale": Printed(
        "Floors, ceilings and worst cases of drift.",
        "layer in [@deepest, 'input'] and method in @distinct",
        ("method", "layer", "test", "images", *INTERVAL),
    ),
    "04_drift": Printed("", f"severity == 5 and {AT}"),
    "04_drift_by_layer": Printed("Mean drift at severity 5, over the images."),
    "04_randomisation": Printed("Rank correlation when all weights are lost."),
    "04_faithfulness": Printed(
        "Mean over {checked} images. Above: value less chance, image by image; for deletion chance less "
        "value, so that above 0 is better than the random map. This difference judges, not overlaps of bars "
        "with circles."
    ),
    "05_association": Printed("The tests declared beforehand; p by Holm."),
    "05_failure": Printed(
        "Drift as a warning of a flip, within corruptions and classes; gain: over low confidence.",
        "severity == @severity and event == 'flipped' and layer == @layer",
        ("method", "layer", "auroc", "low", "high", "gain", "gain_low", "gain_high", "compared"),
    ),
    "05_beside": Printed(
        "Drift beside what needs no map, same pictures; ahead: the AUROC of drift less that of the signal."
    ),
    "05_added": Printed("What drift adds to confidence, entropy, margin and image RMSE."),
    "05_risk": Printed("Area under the risk-coverage curve; saved: against low confidence."),
    "05_strata": Printed("Mean drift by stratum.", AT),
    "05_answers": Printed(
        "The declared tests in every run; p by Holm within the run. {first}",
        columns=("run", "method", "layer", "name", *INTERVAL, "p_adjusted", "verdict"),
    ),
    "05_runs": Printed(
        "Runs side by side, over all severities. {first}",
        "severity == 'all'",
        ("measure", "run", *INTERVAL, *DIFFERENCE),
    ),
    "05_ranks": Printed("Methods by mean drift, 1 = the steadiest. {first}"),
}
