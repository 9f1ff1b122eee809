# Which notebook needs which: `make run`, or `snakemake --cores all`; on a cluster `--profile profiles/slurm`.
# `snakemake -n` shows the plan. --config takes study=my.yaml, threads=2 (of a notebook), gpu=1 (graphics cards
# of a notebook with a network).
# A stage leaves a stamp for each of its files, which holds the file's checksum (medrob.execute). It stands if
# it was executed with the same parameters, data and code (medrob.plan); what does not stand runs again, and so
# do stages whose files are missing or were altered, and those that read what is made again.
import filelock

from medrob import execute, files, plan, study
from medrob.run import READS

OPTIONS = study.options(config)
STUDY = study.load(OPTIONS.study)
RUNS = files.home() / "data" / "runs"
THREADS = OPTIONS.threads or max(1, (workflow.cores or 1) // len(STUDY.runs))
NETWORK = {"mem_mb": 4000, "gpu": OPTIONS.gpu}
LOCK = filelock.FileLock(RUNS / ".study.lock")  # of one study at a time; the system frees it however it ends
NOW = RUNS / ".study.now"  # newer than every stamp
UNTRUE = set()  # stamps of what is missing or was altered
if workflow.is_main_process:
    UNTRUE.update(execute.look(plan.jobs(STUDY), LOCK, NOW))
EXECUTE = "python -m medrob execute {input.notebook:q} {wildcards.run} {params.key} {params.given:q}"


def stamps(stage, *names, run="{run}"):
    """The stamps of all files of a stage, or of some."""
    return [str(RUNS / run / "stamps" / name) for name in names or execute.stamped(stage)]


def after(stage, *read):
    """Stamps of files that a stage reads. If it stands, their time does not count; if not, it runs after `NOW`."""
    # Snakemake's trigger for parameters takes those of a failed job for the last ones, and does not look
    # behind a job that runs anyway.
    stands = lambda run: plan.stands(STUDY, stage, run, OPTIONS.notebooks, UNTRUE)
    found = lambda run: stamps(stage, *read, run=run) if read else []
    return lambda wildcards: ancient(found(wildcards.run)) if stands(wildcards.run) else [*found(wildcards.run), NOW]


def notebook(stage):
    return ancient(OPTIONS.notebooks / f"{stage}.ipynb")  # its code is part of the plan, its outputs are not


def job(stage):
    """What the notebook of a stage is given, and the key of all that it follows from."""
    return {
        "given": lambda wildcards: plan.given(STUDY, stage, wildcards.run),
        "key": lambda wildcards: plan.key(STUDY, stage, wildcards.run, OPTIONS.notebooks),
    }


def analysed(wildcards):
    """All stamps of the run, or of the runs of the comparison."""
    stages = ("01_augment", "03_test", "04_heatmaps")
    return [stamp for run in STUDY.members(wildcards.run) for stage in stages for stamp in stamps(stage, run=run)]


onstart:
    execute.claim(LOCK)


wildcard_constraints: run="|".join(map(re.escape, [*STUDY.runs, *STUDY.compare]))
localrules: all


rule all:
    input: [stamps(stage, run=run) for run, stage, _ in plan.jobs(STUDY)]


rule augment:
    input: after("01_augment"), notebook=notebook("01_augment")
    output: update(stamps("01_augment"))
    params: **job("01_augment")
    threads: THREADS
    shell: EXECUTE


rule train:
    input: after("02_train", *READS["02_train"]), notebook=notebook("02_train")
    output: update(stamps("02_train"))
    params: **job("02_train")
    threads: THREADS
    resources: **NETWORK
    shell: EXECUTE


rule test:
    input:
        after("03_test", *READS["03_test"]),
        notebook=notebook("03_test"),
    output: update(stamps("03_test"))
    params: **job("03_test")
    threads: THREADS
    resources: **NETWORK
    shell: EXECUTE


rule heatmaps:
    input:
        after("04_heatmaps", *READS["04_heatmaps"]),
        notebook=notebook("04_heatmaps"),
    output: update(stamps("04_heatmaps"))
    params: **job("04_heatmaps")
    threads: THREADS
    resources: **NETWORK
    shell: EXECUTE


rule analysis:  # of a run, or of the runs of a comparison side by side
    input: after("05_analysis"), analysed, notebook=notebook("05_analysis")
    output: update(stamps("05_analysis"))
    params: **job("05_analysis")
    threads: THREADS
    shell: EXECUTE
