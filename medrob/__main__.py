"""What can be asked about runs from a terminal: ``python -m medrob runs``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medrob.study import Study

PROJECT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; 0, or 1 if something is wrong with what was asked about."""
    parser = argparse.ArgumentParser(prog="python -m medrob", description="Ask about the runs of a study.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("runs", help="list the runs: state, data, network, training, AUC, minutes")
    one = commands.add_parser("verify", help="are the files of a run those that were made?")
    one.add_argument("run", help="its name, or its folder, such as data/runs/demo")
    one = commands.add_parser("parameters", help="the parameters of a notebook, for papermill -f")
    one.add_argument("run", help="a run of the study")
    one.add_argument("stage", help="such as 02_train")
    one.add_argument("--study", type=Path, default=None, help="the study; default study.yaml")
    one = commands.add_parser("report", help="write a folder of HTML that opens from disk")
    one.add_argument("--folder", type=Path, default=None, help="where to; default report/")
    one.add_argument("--title", default="Study")
    one.add_argument("--study", type=Path, default=None, help="only the runs of this study; default all")
    one = commands.add_parser("share", help="write the notebook that makes one share of a stage's table")
    one.add_argument("notebook", type=Path)
    one.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    try:
        return COMMANDS[given.command](given)
    except (ValueError, OSError) as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1


def _runs(given: argparse.Namespace) -> int:
    from medrob.files import home
    from medrob.runs.overview import overview, shown

    table = overview()
    print(
        shown(table).to_string(index=False)
        if len(table)
        else f"There are no runs in {home()}/data/runs; `make run` makes them."
    )
    return 0


def _verify(given: argparse.Namespace) -> int:
    from medrob.runs import Run
    from medrob.runs.overview import verify

    where = Path(given.run)
    run = Run(where.resolve() if where.is_dir() else given.run)
    problems = verify(run)
    print("\n".join(problems) or f"{run.name}: all files are those that were made, from the same data.")
    return 1 if problems else 0


def _parameters(given: argparse.Namespace) -> int:
    import yaml

    runs = _study(given.study or PROJECT / "study.yaml").runs
    if given.run not in runs or given.stage not in runs[given.run]:
        known = f"the runs are {', '.join(runs)}; the stages {', '.join(next(iter(runs.values())))}"
        raise ValueError(f"no {given.stage!r} of run {given.run!r}; {known}")
    name = {"runs": [given.run]} if given.stage == "05_analysis" else {"run": given.run}
    print(yaml.safe_dump(name | runs[given.run][given.stage], sort_keys=False), end="")
    return 0


def _study(file: Path) -> Study:
    """A study, its names and types checked."""
    from medrob import study

    return study.load(file, PROJECT / "notebooks", choices=False)


def _report(given: argparse.Namespace) -> int:
    from medrob import report
    from medrob.files import home

    runs = None
    if given.study:
        found = _study(given.study)
        runs = [*found.runs, *found.compare]
    print(report.write(given.folder or home() / "report", title=given.title, runs=runs))
    return 0


def _share(given: argparse.Namespace) -> int:
    from medrob import study

    study.write_share(given.notebook, given.target)
    return 0


COMMANDS = {"runs": _runs, "verify": _verify, "parameters": _parameters, "report": _report, "share": _share}

if __name__ == "__main__":
    sys.exit(main())
