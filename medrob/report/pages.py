"""The report of a study: a folder of plain HTML that opens from disk, without a server or a network.

It is made of the records of the runs, so that one executed by hand is as full as one of a study.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import jinja2
from nbconvert.filters import markdown2html

from medrob.corruptions import SEVERITIES
from medrob.files import ALONE, home
from medrob.report.runs import overview, unfinished
from medrob.run import NAME, Run
from medrob.words import word

MARK = ".medrob-report"  # stands in a report: a folder without it, or with other files, is left alone
EACH = 4  # images of a kind behind the sliders


def write(folder: Path, *, runs: Iterable[str] | None = None) -> Path:
    """Write the report of all runs, or some, into a folder that is made anew; the path of its ``index.html``.

    Raises:
        FileNotFoundError: there are no runs. ValueError: the folder holds something else than a report.
    """
    table = overview()
    table = table[table["run"].str.fullmatch(NAME)]
    table = table if runs is None else table[table["run"].isin(list(runs))]
    if table.empty:
        nothing = f"there are no runs in {home() / 'data' / 'runs'}"
        raise FileNotFoundError(f"{nothing}; `make run` makes them{ALONE}")
    folder = folder.resolve()
    ours = (MARK, ".html", ".png", ".webp") if (folder / MARK).exists() else ()
    files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    if others := [file for file in files if not file.endswith(ours)]:
        what = ", ".join(others[:3])
        raise ValueError(f"{folder} holds something else than a report ({what}); give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        part = Path(place) / folder.name
        templates = jinja2.Environment(loader=jinja2.PackageLoader("medrob.report", ""), autoescape=True)
        templates.filters["markdown"] = markdown2html
        templates.policies["json.dumps_kwargs"] = {"sort_keys": False}
        sections = sorted((_run(part, name) for name in table["run"]), key=lambda run: not run["comparison"])
        for section in sections:
            page = templates.get_template("run.html").render(of=section)
            (part / section["run"] / "index.html").write_text(page, encoding="utf-8")
        page = templates.get_template("index.html").render(rows=table.to_dict("records"), sections=sections)
        (part / "index.html").write_text(page, encoding="utf-8")
        (part / MARK).touch()
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    return folder / "index.html"


def _run(folder: Path, name: str) -> dict[str, Any]:
    """Copy or draw the pictures of a run; what its page shows, and the index of it."""
    run, place = Run(name), folder / name
    place.mkdir(parents=True)
    try:
        stages, partial = run.record["stages"], unfinished(run)
    except ValueError:
        stages, partial = {}, {}
    comparison = list(stages) == ["05_analysis"]
    for figure in run.figures.glob("*.png"):
        shutil.copy(figure, place)
    if comparison:  # what its notebook tells before concerns the first run alone
        told = stages["05_analysis"].get("told", [])
        beside = [i for i, part in enumerate(told) if part.get("figure") == "05_runs"]
        stages["05_analysis"]["told"] = told[beside[0] :] if beside else told
    picture = "05_runs.png" if comparison else "summary.png"
    views, problem = ({}, "") if comparison or "02_train" not in stages else _views(place, name)
    return {
        "run": name, "comparison": comparison, "record": stages, "views": views, "problem": problem,
        "answer": {} if comparison else stages.get("05_analysis", {}).get("answer", {}),
        "picture": picture if (place / picture).exists() else "",
        "unfinished": list(partial),
    }  # fmt: skip


def _views(place: Path, run: str) -> tuple[dict[str, Any], str]:
    """Some images under every condition, a file each, as `medrob.explore` shows them; or why not."""
    from medrob.explorer import encoded, explore  # with PyTorch

    texts = {}
    try:
        explorer = explore(run)
        method, layer = explorer.start["method"], explorer.start["layer"]
        images = _chosen(explorer.choices)
        for image, (c, corruption), severity in product(images, enumerate(explorer.suite), SEVERITIES):
            view, key = explorer.look(image, corruption, severity, method, layer), f"{image}-{c}-{severity}"
            (place / f"{key}.webp").write_bytes(encoded(view.sheet(), ".webp"))
            texts[key] = view.html
    except Exception as error:  # the data may be gone, and a network of a user's own raises anything
        return {}, str(error)
    return {"images": images, "corruptions": list(map(word, explorer.suite)), "texts": texts}, ""


def _chosen(choices: Mapping[str, Any]) -> dict[int, str]:
    """Images whose maps move as most do, that flip most often, and that move most: ``{image: why}``."""
    moved, chosen = choices.get("largest drift", ()), dict[int, str]()
    typical = moved[len(moved) // 2 :] if len(moved) else choices["all"]
    kinds = {"typical": typical, "often flipped": choices.get("flipped", ()), "largest drift": moved}
    for why, rows in kinds.items():
        chosen |= {int(image): why for image in [row for row in rows if row not in chosen][:EACH]}
    return chosen
