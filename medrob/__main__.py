"""What can be asked about data and runs from a terminal: ``python -m medrob runs``."""

import argparse
import sys
from pathlib import Path

from medrob import report, study
from medrob.files import ALONE, home
from medrob.run import Run


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; 0, or 1 if something is wrong with what was asked about."""
    parser = argparse.ArgumentParser(prog="python -m medrob", description="Ask about data and runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    told = "what is in a data set, and in a network for it, before any training"
    command = commands.add_parser("check", help=told, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name, field in report.FIELDS.items():
        about = str(field.description).replace("%", "%%")
        command.add_argument(name if name == "dataset" else f"--{name}", help=about)
    commands.add_parser("runs", help="list the runs: state, data, network, training, AUC, minutes")
    command = commands.add_parser("verify", help="are the files of a run those that were made?")
    command.add_argument("run", help="its name, such as demo")
    command = commands.add_parser("report", help="write a folder of HTML that opens from disk: report/")
    command.add_argument("--study", type=Path, help="only the runs of this study; default all")
    given = parser.parse_args(arguments)
    try:
        return _tell(given)
    except (ValueError, OSError) as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1


def _tell(given: argparse.Namespace) -> int:
    if given.command == "check":
        return report.check({name: text for name, text in vars(given).items() if name in report.FIELDS})
    if given.command == "runs":
        table = report.overview()
        nothing = f"There are no runs in {home()}/data/runs; `make run` makes them{ALONE}."
        print(table.to_string(index=False) if len(table) else nothing)
    elif given.command == "report":
        of = study.load(given.study) if given.study else None
        print(report.write(runs=[*of.runs, *of.compare] if of else None))
    else:
        run = Run(given.run)
        problems = report.verify(run)
        print("\n".join(problems) or f"{run.name}: all files are those that were made, from the same data.")
        return int(bool(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
