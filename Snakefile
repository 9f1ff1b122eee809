# Which notebook needs which: `make run`, or `snakemake --cores all`. On a cluster: `--profile profiles/slurm`.
# A stage runs again when its parameters, its code or its data change, and at no other time.
# Another study: --config study=my.yaml. Other numbers: threads=2 (a notebook), gpu=1 (a notebook with a network),
# split=4 (the test and the maps of a run are made by so many jobs, and gathered: the same tables).
import functools
import re
import shutil
from pathlib import Path

import yaml

from medrob import runs, study
from medrob.study import session

NOTEBOOKS = Path(config.get("notebooks", Path(workflow.basedir) / "notebooks"))
FILE = Path(config.get("study", Path(workflow.basedir) / "study.yaml"))
STUDY = study.load(FILE, NOTEBOOKS, choices=workflow.is_main_process)
SESSION = session.Session([*STUDY.runs, *STUDY.compare])
STAGES = list(runs.STAGES)
NETWORK = ("02_train", "03_test", "04_heatmaps")
NUMBERS = study.numbers(config, gpu=int(shutil.which("nvidia-smi") is not None), split=1)
GPU, SPLIT = NUMBERS["gpu"], NUMBERS["split"]
if SPLIT > 1 and workflow.is_main_process:
    study.check_split(STUDY, NOTEBOOKS, SPLIT)
COMPARED = runs.stages.BUILDS_ON["05_analysis"]
SHARED = {"03_test": "predictions", "04_heatmaps": "drift"}  # the tables that can be made in shares


def threads(parts=1):
    """As many as were asked for, or the cores shared among the jobs that can go side by side."""
    if "threads" in NUMBERS:
        return NUMBERS["threads"]
    cores = workflow.cores or 1
    return max(1, cores // max(1, min(parts * len(STUDY.runs), cores)))


def folder(run):
    return runs.home() / "data" / "runs" / run


def executed(stage, run="{run}"):
    return str(folder(run) / "notebooks" / f"{stage}.ipynb")


def beside(stage, ending, run="{run}"):
    return executed(stage, run).replace(".ipynb", ending)


def written(stage, run="{run}"):
    return [str(folder(run) / file) for file in runs.STAGES[stage]]


def share(stage, number):
    """The file of a share, which is gone once the shares are gathered."""
    return str(folder("{run}") / "shares" / f"{SHARED[stage]}.{number}of{SPLIT}.parquet")


def shares(stage):
    numbers = range(1, SPLIT + 1) if SPLIT > 1 and stage in SHARED else []
    return [ancient(share(stage, number)) for number in numbers]


def as_yaml(given):
    return yaml.safe_dump(given, default_flow_style=True, width=float("inf")).strip()


def parameters(stage, **more):
    """The notebook's parameters for a run, as papermill takes them."""

    def of(wildcards):
        own = {"runs": [wildcards.run]} if stage == "05_analysis" else {"run": wildcards.run} | more
        return as_yaml(own | STUDY.runs[wildcards.run][stage])

    return of


def measure_of(run):
    """The run of this study whose errors are the measure of another's, in a list; empty if there is none."""
    return [one for one in [STUDY.runs[run]["03_test"].get("reference")] if one in STUDY.runs]


@functools.cache
def key_of(stage, run):
    own = study.own_key(stage, STUDY.runs[run], NOTEBOOKS)
    return "+".join([own, *(key_for("04_heatmaps", stage, one) for one in measure_of(run) if stage == "03_test")])


@functools.cache
def key_for(later, stage, run):
    """The key of what a later stage reads of a stage."""
    return study.key(stage, STUDY.runs[run], NOTEBOOKS, later=later)


def keys_of(stage, run):
    """What is kept beside a finished stage: its key, then one for each stage that builds on it."""
    later = [f"{one}:{key_for(one, stage, run)}" for one in STAGES if stage in runs.stages.BUILDS_ON[one]]
    return " ".join([key_of(stage, run), *later])


def key(stage):
    return lambda wildcards: keys_of(stage, wildcards.run)


def comparison_key(members):
    return "-".join(f"{run}={key_of('05_analysis', run)}" for run in members)


@functools.cache
def recorded(stage, run):
    """Whether a stage is in the record of a run as this study makes it, and its files are those that were made.

    Not where the record is damaged, a table altered, or the notebook run by hand with other parameters.
    """
    given = STUDY.runs[STUDY.compare[run][0] if run in STUDY.compare else run][stage]
    wanted = study.parameters(NOTEBOOKS / f"{stage}.ipynb") | given
    try:
        entry = runs.Run(run).record["stages"].get(stage)
        asked = {name: wanted[name] for name in wanted if name not in study.SET_BY_STUDY}
        same = entry and all(entry["parameters"].get(name, value) == value for name, value in asked.items())
        return bool(same) and not any(runs.Run(run).mixed([stage]))
    except (ValueError, KeyError):
        return False


def done(stage, run, key):
    """Whether a stage has been finished with this key and is in the record, and its files are there."""
    file = Path(beside(stage, ".key", run))
    there = all(Path(one).exists() for one in [executed(stage, run), *written(stage, run)])
    return there and file.exists() and key in file.read_text().split() and recorded(stage, run)


@functools.cache
def standing(stage, run, later=None):
    """Whether a stage is done, and what it builds on, when the study begins.

    For a later stage that builds on it, it is enough that what that one reads would be the same.
    """
    earlier = all(standing(one, run, stage) for one in runs.stages.BUILDS_ON[stage])
    key = f"{later}:{key_for(later, stage, run)}" if later else key_of(stage, run)
    return earlier and done(stage, run, key)


def compared(comparison):
    """Whether a comparison is done, and its runs."""
    members = STUDY.compare[comparison]
    whole = all(standing(stage, run) for run in members for stage in COMPARED)
    return whole and done("05_analysis", comparison, comparison_key(members))


def after(inputs, finished):
    """Inputs to wait for. What is finished waits for them without being run again because of them.

    What is not must not be hidden behind ancient(): Snakemake looks no further than to the first job that
    is run, if what follows it has ancient inputs alone.
    """
    return [ancient(one) if finished else one for one in inputs]


def mark(stage, run="{run}"):
    return beside(stage, ".todo", run)


def marked(stage, run):
    return [one for one in [mark(stage, run)] if Path(one).exists()]


def before(stage):
    def of(wildcards):
        run = wildcards.run
        earlier = [executed(one, run) for one in runs.stages.before(stage)]
        earlier += [executed(stage, one) for one in measure_of(run) if stage == "03_test"]
        return marked(stage, run) + after(earlier, standing(stage, run))

    return of


# Snakemake's own memory of parameters is lost with .snakemake/, and knows nothing of a table that is gone: what
# was made and does not stand gets a mark that is newer. While another study is running, its marks are left alone.
if workflow.is_main_process:
    TODO = {run: [stage for stage in STAGES if not standing(stage, run)] for run in STUDY.runs}
    TODO |= {name: [] if compared(name) else ["05_analysis"] for name in STUDY.compare}
    for run, stages in () if SESSION.elsewhere() else TODO.items():
        for stage in STAGES:
            if stage not in stages:
                Path(mark(stage, run)).unlink(missing_ok=True)
            elif Path(executed(stage, run)).exists():
                Path(mark(stage, run)).touch()
    SESSION.plan(TODO)


wildcard_constraints:
    run="|".join(map(re.escape, STUDY.runs)),


localrules:
    all,


# A notebook that fails keeps its traceback in <stage>.partial.ipynb; its end is shown here.
EXECUTE = (
    "rm -f {params.done:q};"
    " MEDROB_PROGRESS=${{MEDROB_PROGRESS:-{params.progress:q}}}"
    " papermill --no-progress-bar --log-level WARNING -k python3 -y {params.parameters:q}"
    " {input.notebook:q} {params.partial:q} > {log:q} 2>&1"
    " || {{ tail -n 20 {log:q} >&2; echo failed: {params.partial:q} {log:q} >&2; exit 1; }};"
    " rm -f {params.progress:q}; "
)
KEEP = (
    "mv {params.partial:q} {output.notebook:q}; rm -f {params.mark:q};"
    " made=$( (command -v sha256sum > /dev/null && sha256sum || shasum -a 256) < {output.notebook:q});"
    " echo {params.key:q} notebook:${{made%% *}} > {params.done:q}"
)


rule all:
    input:
        expand(executed("05_analysis"), run=STUDY.runs),
        [executed("05_analysis", name) for name in STUDY.compare],


for stage in STAGES:

    rule:
        name:
            f"notebook_{stage}"
        input:
            before=before(stage),
            shares=shares(stage),
            notebook=ancient(NOTEBOOKS / f"{stage}.ipynb"),
        output:
            notebook=executed(stage),
            files=written(stage),
        log:
            beside(stage, ".log"),
        params:
            parameters=parameters(stage),
            key=key(stage),
            done=beside(stage, ".key"),
            mark=mark(stage),
            partial=beside(stage, ".partial.ipynb"),
            progress=beside(stage, ".progress"),
        threads: threads()
        resources:
            mem_mb=4000 if stage in NETWORK else 2000,
            gpu=GPU if stage in NETWORK else 0,
        message:
            f"{stage} of run {{wildcards.run}}"
        shell:
            EXECUTE + KEEP


for stage in SHARED if SPLIT > 1 else ():
    for number in range(1, SPLIT + 1):

        rule:
            name:
                f"share_{stage}_{number}"
            input:
                before=before(stage),
                notebook=ancient(NOTEBOOKS / f"{stage}.ipynb"),
            output:
                notebook=temp(share(stage, number)),
            log:
                beside(stage, f".share{number}.log"),
            params:
                parameters=parameters(stage, share=f"{number}/{SPLIT}"),
                key=key(stage),
                done=beside(stage, f".share{number}.key"),
                source=beside(stage, f".share{number}.ipynb"),
                partial=beside(stage, f".share{number}.partial.ipynb"),
                progress=beside(stage, f".share{number}.progress"),
            threads: threads(SPLIT)
            resources:
                mem_mb=4000,
                gpu=GPU,
            message:
                f"{stage} of run {{wildcards.run}}, share {number} of {SPLIT}"
            shell:
                "python -m medrob share {input.notebook:q} {params.source:q} && "
                + EXECUTE.replace("{input.notebook:q}", "{params.source:q}")
                + "rm -f {params.partial:q} {params.source:q}"


for comparison, members in STUDY.compare.items():

    rule:
        name:
            f"compare_{comparison}"
        input:
            before=lambda _, comparison=comparison, members=members: after(
                [executed(stage, run) for run in members for stage in COMPARED],
                compared(comparison),
            ) + marked("05_analysis", comparison),
            notebook=ancient(NOTEBOOKS / "05_analysis.ipynb"),
        output:
            notebook=executed("05_analysis", comparison),
            files=written("05_analysis", comparison),
        log:
            beside("05_analysis", ".log", comparison),
        params:
            parameters=as_yaml(
                STUDY.runs[members[0]]["05_analysis"] | {"runs": members, "results": comparison}
            ),
            key=lambda _, members=members: comparison_key(members),
            done=beside("05_analysis", ".key", comparison),
            mark=mark("05_analysis", comparison),
            partial=beside("05_analysis", ".partial.ipynb", comparison),
            progress=beside("05_analysis", ".progress", comparison),
        threads: threads()
        resources:
            mem_mb=2000,
            gpu=0,
        message:
            f"{comparison}: {len(members)} runs side by side"
        shell:
            EXECUTE + KEEP


onstart:
    SESSION.begin()


onsuccess:
    SESSION.end()


onerror:
    SESSION.end()
