"""What a notebook begins and ends with: `begin` takes its parameters, `Stage.keep` its results.

In between, figures and tables for the thesis are only collected. A notebook that fails therefore changes
nothing: the tables, the figures and the record of an earlier execution stand until `keep`.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display, update_display
from matplotlib.figure import Figure

from medrob import config, plan
from medrob import data as datasets
from medrob.check import only_the_sentence
from medrob.data import ImageDataset
from medrob.figures import TEXTWIDTH, use_style
from medrob.files import atomic, hold
from medrob.machine import machine_facts, peak_gpu_memory_mb, peak_memory_mb
from medrob.run import Run
from medrob.thesis import Bundle, file_name
from medrob.words import kept


@only_the_sentence()
def begin(name: str, namespace: Mapping[str, Any]) -> Stage:
    """Begin a stage, such as "02_train", with the parameters in ``globals()`` of its notebook.

    Raises:
        ValueError: wrong parameters, all at once; files of earlier stages that do not belong together.
        FileNotFoundError: an earlier stage is missing; the message says which notebook makes it.
        RuntimeError: another process is working on the same stage of the same run.
    """
    warnings.formatwarning = lambda message, kind, *_: f"{kind.__name__}: {message}\n"  # no line of code
    pd.set_option("display.max_colwidth", None)  # sentences in tables, whole
    pd.set_option("display.precision", 3)  # rounded as in sentences, figures and LaTeX
    known = config.STAGES[name].model_fields
    values = {parameter: namespace[parameter] for parameter in known if parameter in namespace}
    absent = sorted(known.keys() - values.keys())
    if absent and "get_ipython" in namespace:  # a name mistyped in the cell itself leaves its parameter out
        raise ValueError(f"{name}: the cell of parameters sets no {', '.join(absent)}; is a name mistyped?")
    return Stage(name, config.judge(name, dict.fromkeys(injected()) | values))


def answer() -> None:
    """Leave a place at the top for what `Stage.say` and `Stage.figure` are given with ``answer=True``."""
    display(Markdown("*The answer will stand here.*"), display_id="answer")
    display(Markdown(""), display_id="picture")


def injected() -> list[str]:
    """The names in the cell that papermill has put into the running notebook: lines ``name = literal``."""
    shell = get_ipython()
    cells = [cell for cell in (shell.user_ns["In"] if shell else []) if cell.startswith("# Parameters\n")]
    lines = ast.parse(cells[-1] if cells else "").body  # of a cell that was corrected, the last counts
    return [ast.unparse(line.targets[0]) for line in lines if isinstance(line, ast.Assign)]


class Stage(Bundle):
    """A stage that has begun: `parameters` (judged), the `run` that it reads, `results`, where it writes."""

    def __init__(self, name: str, parameters: config.Parameters) -> None:
        self.parameters = parameters
        self._values = parameters.model_dump()
        runs = self._values.get("runs") or [self._values["run"]]
        self.run = Run(runs[0])
        self.results = Run(self._values.get("results") or runs[0])
        super().__init__(self.results.figures, name)
        if self.results.name != self.run.name and set(self.results.record["stages"]) - {name}:
            taken = f"results={self.results.name!r} is a run with stages of its own; choose another name"
            raise ValueError(taken)
        self._made_from: dict[str, str] = {}  # the files that are read and their checksums
        for run in map(Run, runs):
            of = "" if run.name == self.results.name else f"{run.name}/"
            self._made_from |= {f"{of}{file}": checksum for file, checksum in run.ready(name).items()}
        self._noted: dict[str, Any] = {}
        self._told: list[dict[str, str]] = []  # sentences and figures, for the report
        self._described: dict[str, Any] = {}
        self._began = time.perf_counter()
        self._lock = hold(self.results.path(".locks", name), f"{name} of run {self.results.name!r}")
        use_style(self._values.get("textwidth", TEXTWIDTH))

    def load(self, *splits: str) -> list[ImageDataset]:
        """The images of splits: in 01_augment those that its parameters name, later the same once more."""
        if self.name != "01_augment":
            return datasets.load_run(self.run, *splits)
        options = {name: self._values[name] for name in datasets.OPTIONS}
        loaded = datasets.load_splits(self._values["dataset"], *splits, **options)
        parameters = {"dataset": self._values["dataset"], **options}
        self._described = {"parameters": parameters, "splits": datasets.describe(*loaded)}
        self.note(data=self._described)
        return loaded

    @property
    def data(self) -> dict[str, Any]:
        """The parameters of 01_augment: the data set, its seed, the suite of corruptions."""
        return self._values if self.name == "01_augment" else self.run.params["01_augment"]

    @property
    def seed(self) -> int:
        """The seed of the data and of the corruptions."""
        return int(self.data["seed"])

    def read(self, table: str, run: str = "") -> pd.DataFrame:
        """A table of this run, or of another one: ``stage.read("scores")``."""
        return (Run(run) if run else self.run).table(table)

    def note(self, **facts: Any) -> None:
        """Keep facts (data, device, ...) for this stage's entry in the record."""
        self._noted.update(facts)

    def trained(self, fit: Callable[..., pd.DataFrame], model: Any, *data: Any, **how: Any) -> pd.DataFrame:
        """The history of ``fit(model, ...)``, which trains in place, unless the same training ended before.

        Then its network and history are taken, and the record goes on to say how long it took, and where.
        """
        values = self._values | {"run": ""}
        follows = json.dumps([values, self._made_from, plan.training(values)], sort_keys=True)
        key = hashlib.sha256(follows.encode()).hexdigest()[:16]
        before = self.results.record["stages"].get(self.name, {})
        if before.get("training") != key or any(self.results.problems(self.name)):
            self.note(training=key)
            return fit(model, *data, **how)
        from medrob.models import load, load_arrays

        anew = ("parameters", "finished", "files", "checksum", "thesis", "told", "answer", "data")
        self.note(**{name: fact for name, fact in before.items() if name not in anew})
        load_arrays(model.eval(), load(self.results.folder).state_dict())
        advice = f"delete {self.results.path('model.safetensors')} to train again"
        self.say(f"This network is trained already, with the same parameters, data and code; {advice}.")
        return self.read("history")

    def describe(self, **facts: Any) -> None:
        """Note facts that captions tell, and by which tables select (``method=``)."""
        self.facts |= facts

    def figure(self, figure: Figure | None, name: str, caption: str = "", *, answer: bool = False) -> None:
        """Show a figure, and collect it for the thesis under a name such as "03_auc"; None is no figure.

        The one that is (part of) the `answer` of the notebook is shown at its top, too.
        """
        if figure is None:
            return
        super().figure(figure, name, caption)
        self._tell({"figure": file_name(name)})
        if answer:
            update_display(figure, display_id="picture")

    def tables(self, frames: Mapping[str, pd.DataFrame]) -> None:
        """Collect several tables, by their names; those without rows are left out."""
        for name, frame in frames.items():
            if len(frame):
                self.table(frame, name)

    def say(self, *sentences: str, answer: bool = False) -> None:
        """Show sentences as Markdown; the `answer` of the notebook at its top, too."""
        text = "\n\n".join(sentences)
        self._tell({"text": text})
        display(Markdown(text))
        if answer:
            update_display(Markdown(text), display_id="answer")

    def _tell(self, part: dict[str, str]) -> None:
        """Keep a part of what is told; once, also where its cell is run again."""
        self._told = [told for told in self._told if told != part] + [part]

    def answer(self, verdicts: str, done: str, limits: str) -> None:
        """Show what was found and what limits it, and keep it: the report and the thesis begin with it."""
        first, _, tests = verdicts.partition("\n\n")  # without the tests that they rest on
        self.note(answer={"verdicts": first, "done": done, "limits": limits})
        self.say(first, answer=True)
        self.say(tests, done, limits)

    def keep(self, *, model: Any = None, **tables: pd.DataFrame) -> None:
        """End the stage: write its network, its tables (``scores=scores``), figures and entry in the record.

        The entry holds parameters, seconds, memory, checksums, notes, versions and the git commit.
        """
        if "device" in self._values and "torch" in sys.modules:
            from medrob.models import pick_device

            self._noted.setdefault("device", str(pick_device(self._values["device"])))
        entry = {
            "parameters": self._values,
            "made_from": self._made_from,
            "seconds": round(time.perf_counter() - self._began, 2),
            "peak_memory_mb": round(peak_memory_mb()),
            "peak_gpu_memory_mb": round(peak_gpu_memory_mb()) or None,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **machine_facts(),
            **self._noted,
            "thesis": self.notes,
            "told": self._told,
        }
        stages = self.results.record["stages"]
        with contextlib.ExitStack() as files:  # all of them, or none
            for name, frame in tables.items():
                part = files.enter_context(atomic(self.results.path(f"{name}.parquet")))
                frame.to_parquet(part, index=False)
            if self._described:
                about = files.enter_context(atomic(self.results.path("data.json")))
                about.write_text(json.dumps(self._described, indent=1) + "\n")
            self.document(stages | {self.name: entry}, stages.get(self.name))
            if model is not None:
                from medrob.models import save

                save(model, self.results.folder)
        whole = self.results.keep(self.name, entry)
        self._lock.release(force=True)
        self.say(kept(self.results.name, whole))
