"""What can be asked about runs from a terminal: ``python -m medrob runs``."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; 0, or 1 if something is wrong with what was asked about."""
    parser = argparse.ArgumentParser(prog="python -m medrob", description="Ask about the runs of a study.")
    commands = parser.add_subparsers(dest="command", required=True)
    told = "what is in a data set, and in a network for it, before any training"
    command = commands.add_parser("check", help=told, add_help=False, prefix_chars="\0")
    command.add_argument("options", nargs="*")  # parameters of the notebooks, which medrob.report judges
    commands.add_parser("runs", help="list the runs: state, data, network, training, AUC, minutes")
    command = commands.add_parser("verify", help="are the files of a run those that were made?")
    command.add_argument("run", help="its name, such as demo")
    command = commands.add_parser("report", help="write a folder of HTML that opens from disk")
    command.add_argument("--folder", type=Path, help="where to; default report/")
    command.add_argument("--study", type=Path, help="only the runs of this study; default all")
    given = parser.parse_args(arguments)
    try:
        return _tell(given)
    except (ValueError, OSError) as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1


def _tell(given: argparse.Namespace) -> int:
    from medrob import report, study
    from medrob.files import ALONE, home
    from medrob.run import Run

    if given.command == "check":
        return report.check(given.options)
    if given.command == "runs":
        table = report.overview()
        nothing = f"There are no runs in {home()}/data/runs; `make run` makes them{ALONE}."
        print(table.to_string(index=False) if len(table) else nothing)
    elif given.command == "report":
        of = study.load(given.study) if given.study else None
        runs = [*of.runs, *of.compare] if of else None
        print(report.write(given.folder or home() / "report", runs=runs))
    else:
        run = Run(given.run)
        problems = report.verify(run)
        print("\n".join(problems) or f"{run.name}: all files are those that were made, from the same data.")
        return 1 if problems else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
