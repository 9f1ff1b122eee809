"""Figures of failure: does a moved map warn of it, and what is the warning worth?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.figures.style import (
    METRIC_LABELS,
    band,
    below,
    beside,
    colours,
    layer_labels,
    legend_of,
    letter,
    markers,
    noted,
    nothing,
    said,
    sized,
    word,
)

DASHES = ("--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # of what needs no map


def strata_bars(strata: pd.DataFrame, *, layer: str, metric: str = "rmse") -> Figure:
    """Drift of prediction-preserved and of flipped images against severity, a panel a method.

    Args:
        strata: from `medrob.analysis.strata`.
    """
    here = strata[strata["layer"] == layer]
    rows = here[here["value"].notna()]
    methods = list(dict.fromkeys(rows["method"]))
    kinds = {"preserved": ("C0", "o"), "flipped": ("C3", "X")}
    if not methods:
        return noted(nothing(f"every map of {layer} is degenerate"), lacking=" (every map is degenerate)")
    columns = min(len(methods), 5)
    lines = -(-len(methods) // columns)
    figure, axes = sized(0.36 * lines + 0.06, lines, columns, sharey=True, sharex=True)
    for ax, method in zip(axes.flat, methods, strict=False):
        for kind, (colour, marker) in kinds.items():
            group = rows[(rows["method"] == method) & (rows["stratum"] == kind)].sort_values("severity")
            if group.empty:
                continue
            shift = -0.08 if kind == "preserved" else 0.08
            ax.errorbar(
                group["severity"] + shift, group["value"],
                yerr=[group["value"] - group["low"], group["high"] - group["value"]],
                color=colour, marker=marker, label=f"prediction {kind}", elinewidth=0.8,
            )  # fmt: skip
        ax.set(title=word(method), xticks=sorted(rows["severity"].unique()))
    for ax in axes.flat[len(methods) :]:
        ax.axis("off")
    lacking = ""
    for kind in set(kinds) - set(rows["stratum"]):
        every = f"every map of a {kind} prediction is degenerate"
        lacking = every if kind in set(here["stratum"]) else f"no prediction is {kind}"
    below(figure, f"severity ({'; '.join(filter(None, (layer, lacking)))})")
    beside(figure, METRIC_LABELS.get(metric, metric))
    legend_of(figure, axes)
    return noted(figure, lacking=lacking and f" ({lacking})")


def warnings(failure: pd.DataFrame, *, severity: int = 5, event: str = "flipped") -> Figure:
    """How well drift warns of a failure, a line a method: AUROC by layer, and less that of low confidence.

    (b) is the comparison on the same pictures: other maps are degenerate for other pictures. Dashed in (a):
    what needs no map, on the pictures that have the map of `medrob.analysis.headline`.

    Args:
        failure: from `medrob.analysis.failure`.
    """
    rows = failure[(failure["severity"] == severity) & (failure["event"] == event)]
    maps = rows[rows["signal"] == "drift"]
    if not maps["auroc"].notna().any():
        why = f"no usable map, or within a class no prediction or every one {event}"
        return nothing(f"severity {severity}: nothing to detect\n({why})")
    layers, methods = list(dict.fromkeys(maps["layer"])), list(dict.fromkeys(maps["method"]))
    shades, shapes = colours(methods), markers(methods)
    figure, axes = sized(0.46, 1, 2)
    for ax, name in zip(axes[0], ("auroc", "gain"), strict=True):
        ends = ("low", "high") if name == "auroc" else ("gain_low", "gain_high")
        for method, group in maps.groupby("method", sort=False):
            whole = group.set_index("layer").reindex(layers)
            band(
                ax, range(len(layers)), *(list(whole[c]) for c in (name, *ends)),
                colour=shades[method], marker=shapes[method], label=word(str(method)),
            )  # fmt: skip
        ax.set(xticks=range(len(layers)), xlabel=f"layer, shallow to deep (severity {severity})")
        ax.set_xticklabels(layer_labels(layers))
    first, second = axes[0]
    for row, dashes in zip(rows[rows["signal"] != "drift"].itertuples(), DASHES, strict=False):
        label = row.signal.replace("rmse", "RMSE")
        first.axhline(row.auroc, color="0.25", linestyle=dashes, linewidth=1, label=label)
    first.axhline(0.5, color="0.7", linewidth=0.8, label="chance")
    second.axhline(0, color="0.7", linewidth=0.8)
    top = maps.iloc[0]
    count, cases = int(top["events"] + top["lost_events"]), int(top["cases"] + top["lost"])
    first.set(ylabel=f"AUROC for: prediction {event}", title=f"{count} of {cases} predictions {event}")
    second.set(ylabel="gain over low confidence", title="on the same pictures")
    letter(figure, axes[0])
    handles = first.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(len(handles[0]), 5))
    return figure


def failure_curves(roc: pd.DataFrame, risk: pd.DataFrame) -> Figure:
    """(a) ROC curves of drift and of what needs no map, (b) risk against coverage; bands: 95 %.

    Args:
        roc: from `medrob.analysis.roc`. risk: the curves of `medrob.analysis.risk`.
    """
    figure, axes = sized(0.5, 1, 2)
    event = roc["event"].iloc[0] if len(roc) else "flipped"
    _curves(axes[0][0], roc, "alarms", "found")
    axes[0][0].plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    axes[0][0].set(
        title=f"prediction {event}", xlabel="share of false alarms", ylabel="share of events found"
    )
    _curves(axes[0][1], risk, "coverage", "risk")
    axes[0][1].set(title="setting pictures aside", xlabel="coverage: share kept")
    axes[0][1].set_ylabel("risk: share wrong of the kept")
    axes[0][1].set_ylim(bottom=0)
    reasons = (
        f"nothing to detect: no usable map,\nor within a class none or all {event}",
        "no usable map,\nor not one label an image",
    )
    for ax, rows, reason in zip(axes[0], (roc, risk), reasons, strict=True):
        if rows.empty:
            said(ax, reason)
    letter(figure, axes[0])
    handles, labels = axes[0][int(len(risk) > 0)].get_legend_handles_labels()  # (b) has one curve more
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _curves(ax: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """Drift black with a band, what needs no map grey and dashed, the best that is possible dotted."""
    dashes = iter(DASHES)
    for name, group in rows.groupby("signal", sort=False):
        if name == "drift":
            ax.plot(group[x], group[y], color="C0", linewidth=1.5, label="drift", zorder=3)
            ax.fill_between(group[x], group["low"], group["high"], color="C0", alpha=0.2, linewidth=0)
        else:
            best = name == "best possible"
            style = (0, (1, 3)) if best else next(dashes)
            label = str(name).replace("rmse", "RMSE")
            ax.plot(group[x], group[y], color="0.2", linewidth=0.9, linestyle=style, label=label)
