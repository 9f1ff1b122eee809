"""What the numbers say in words. Nothing is said that the interval and the corrected p do not carry."""

from __future__ import annotations

import pandas as pd

from medrob.analysis.cases import DOUBT
from medrob.analysis.correction import EVERY, PER_IMAGE, WITHIN, family, warning
from medrob.analysis.failures import warnings_at
from medrob.analysis.images import PER_IMAGE_PARTIAL
from medrob.analysis.tables import MAP, require, require_map
from medrob.analysis.verdict import NO, OPEN, OPPOSITE, SMALL, UNDEFINED, YES, Finding


def rows_of(rows: pd.DataFrame, method: str, layer: str, name: str) -> pd.DataFrame:
    """The rows of one method and layer over all corruptions, by kind; a ValueError if there are none."""
    require(rows, [*MAP, "kind", "value", "low", "high", "p"], name)
    require_map(rows, method, layer, name)
    here = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    if "corruption" in here:
        here = here[here["corruption"] == EVERY]
    return here.set_index("kind")


def say_association(association: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the corruption that moves the map more cost more AUC, at the same severity?

    Args:
        association: from `association`, or from `adjust`: p is then the corrected one.
    """
    kinds = rows_of(association, method, layer, "association")
    pooled, within, partial = (Finding.of(kinds.loc[k]) for k in ("pooled", WITHIN, "partial"))
    found = within.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return (
            "Within severity there is nothing to correlate: too few corruptions, or drift that does not vary."
        )
    told = {
        YES: "at the same severity, the corruption that moves the map more costs more AUC",
        OPPOSITE: "at the same severity, the corruption that moves the map more costs less AUC",
        NO: "at the same severity, drift and loss of AUC are not linked under these corruptions",
        OPEN: "at the same severity, no link between drift and loss of AUC is shown",
    }[found]
    if found in (YES, OPPOSITE) and partial.verdict(chance=0, small=SMALL["correlation"]) != found:
        told += "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
    return (
        f"Pooled over severities the rank correlation is {_plain(pooled)}; severity alone makes it high.\n"
        f"Within severity it is {within}; less what the pixels' own RMSE explains, {partial}.\nSo {told}."
    )


def _plain(found: Finding) -> str:
    """Without p: it is described, not tested."""
    return str(Finding(found.value, found.low, found.high, float("nan")))


def say_per_image(images: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: in the same condition, does the image whose map moves more lose more margin?

    Args:
        images: from `per_image`, or from `adjust`.
    """
    kinds = rows_of(images, method, layer, "per_image")
    plain, partial = (Finding.of(kinds.loc[k]) for k in (PER_IMAGE, PER_IMAGE_PARTIAL))
    found = plain.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return "Image by image there is nothing to correlate: no usable maps, or nothing that varies."
    told = {
        YES: "under the same corruption, the image whose map moves more loses more margin",
        OPPOSITE: "under the same corruption, the image whose map moves more loses less margin",
        NO: "image by image, drift and loss of margin are not linked to any extent that matters",
        OPEN: "image by image, no link between drift and loss of margin is shown",
    }[found]
    if found in (YES, OPPOSITE):
        beyond = partial.verdict(chance=0, small=SMALL["correlation"]) == found
        told += (
            "; this goes beyond what the RMSE of the picture tells anyway"
            if beyond
            else "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
        )
    return (
        f"Within a condition, the rank correlation over images is {plain};\n"
        f"less what the pixels' own RMSE explains, {partial}.\nSo {told}."
    )


def say_failure(
    failure: pd.DataFrame, *, method: str, layer: str, severity: int, tests: pd.DataFrame | None = None
) -> str:
    """In words: how drift compares with low confidence as a warning of a flipped prediction.

    Args:
        failure: from `failure`.
        tests: from `adjust`: p is then the corrected one.

    Raises:
        ValueError: a method, layer or severity that `failure` does not hold.
    """
    rows = warnings_at(failure, severity, "flipped")
    require_map(rows, method, layer, "failure")
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    every = rows[rows["signal"] == DOUBT].iloc[0]
    begin = f"Severity {severity}: {every['events']} of {every['cases']} predictions flipped."
    lost = every["cases"] - drift["cases"]
    if lost:
        begin += (
            f" {lost} pictures, {every['events'] - drift['events']} of them flipped, have a degenerate "
            "map and no drift; they are left out below."
        )
    if tests is not None:
        kinds = rows_of(tests, method, layer, "tests")
        drift = pd.concat([drift, kinds.loc[warning("flipped", severity)][["p_adjusted"]]])
    found = Finding.of(drift, ("auroc", "low", "high"))
    verdict = found.verdict(chance=0.5, small=SMALL["auroc"])
    if verdict == UNDEFINED:
        return f"{begin}\nNothing to detect: no picture with a drift has flipped, or all have."
    told = {
        YES: "warns of a flip",
        OPPOSITE: "is smaller where the prediction flips",
        NO: "does not warn of a flip",
        OPEN: "is not shown to warn of a flip",
    }[verdict]
    gain = Finding.of(drift, ("gain", "gain_low", "gain_high")).verdict(chance=0, small=0, tested=False)
    against = {YES: "better than", OPPOSITE: "worse than"}.get(gain, "not distinguishable from")
    return (
        f"{begin}\nDrift {told}: AUROC {_unsigned(found)}. "
        f"Low confidence reaches {drift['auroc'] - drift['gain']:.2f} on the same pictures:\n"
        f"drift is {against} it, by {drift['gain']:+.2f} "
        f"({drift['gain_low']:+.2f} to {drift['gain_high']:+.2f})."
    )


def _unsigned(found: Finding) -> str:
    return str(found).replace("+", "")


def say_best(best: pd.Series, failure: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: which map warns best, chosen after looking, beside the one fixed beforehand.

    Args:
        best: from `best_warning`.
        failure: from `failure`. method, layer: fixed beforehand, see `headline`.
    """
    if not best["maps"]:
        return f"Severity {best['severity']}: no map can be chosen; nothing failed, or none is usable."
    rows = warnings_at(failure, best["severity"], best["event"])
    require_map(rows, method, layer, "failure")
    own = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    top, found = Finding.of(best, ("auroc", "low", "high")), Finding.of(own, ("auroc", "low", "high"))
    if (best["method"], best["layer"]) == (method, layer):
        return f"Of {best['maps']} maps, the one fixed beforehand warns best: AUROC {_unsigned(top)}."
    holds = top.verdict(chance=0.5, small=SMALL["auroc"]) == YES
    return (
        f"Chosen after looking, as the highest of {best['maps']}: {best['method']} at {best['layer']}, "
        f"AUROC {_unsigned(top)}.\n"
        f"Fixed beforehand: {method} at {layer}, AUROC {_unsigned(found)}. "
        + (
            "The first is flattered by the choice; that it warns at all holds after correction for it."
            if holds
            else "That the first warns at all is not shown, once the choice is corrected for."
        )
    )


QUESTIONS = (  # of `family`: the question, chance, what is too little to matter, the test beyond image RMSE
    ("Does the map move more under the corruption that costs more AUC?", 0.0, "correlation", "partial"),
    ("Does the map move more in the image that loses more margin?", 0.0, "correlation", PER_IMAGE_PARTIAL),
    ("Does the map move more where the prediction flips?", 0.5, "auroc", ""),
)


def say_answer(tests: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """The answer to the question, as declared: three tests of one map, corrected by Holm's method.

    Args:
        tests: from `adjust`, whose family was `family(severity)`.

    Raises:
        ValueError: an unknown method or layer, or a test of the family that was not declared.
    """
    require(tests, ["family", "p_adjusted"], "tests")
    rows = rows_of(tests, method, layer, "tests")
    lines, verdicts = [], []
    for kind, (question, chance, scale, beyond) in zip(family(severity), QUESTIONS, strict=True):
        if kind not in rows.index or rows.loc[kind, "family"] != "declared":
            raise ValueError(f"the test {kind!r} was not declared; give family({severity}) to `adjust`")
        found = Finding.of(rows.loc[kind])
        verdicts.append(found.verdict(chance=chance, small=SMALL[scale]))
        line = f"{question} {verdicts[-1].capitalize()}: {_unsigned(found) if chance else found}."
        if beyond and verdicts[-1] in (YES, OPPOSITE):
            more = Finding.of(rows.loc[beyond])
            same = more.verdict(chance=0, small=SMALL[scale]) == verdicts[-1]
            line += f" Beyond the RMSE of the picture: {verdicts[-1] if same else OPEN}, {more}."
        lines.append(line)
    return "\n".join([*lines, _altogether(verdicts)])


def _altogether(verdicts: list[str]) -> str:
    yes, no = verdicts.count(YES), verdicts.count(NO) + verdicts.count(OPPOSITE)
    if yes == len(verdicts):
        return "Saliency drift goes with loss of performance here, in all three ways."
    if yes:
        return f"Saliency drift goes with loss of performance here in {yes} of {len(verdicts)} ways."
    if no == len(verdicts):
        return "Saliency drift does not go with loss of performance here."
    return "That saliency drift goes with loss of performance is not shown here."
