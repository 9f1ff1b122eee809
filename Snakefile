# Which notebook needs which: `make run`, or `snakemake --cores all`; on a cluster `--profile profiles/slurm`.
# `snakemake -n` shows the plan. --config takes study=my.yaml, threads=2 (of a notebook), gpu=1 (graphics cards
# of a notebook with a network).
# A stage leaves a stamp (medrob.execute). It stands if it was executed with the same parameters, data and code
# (medrob.plan); what does not stand runs again, and so do stages whose files are missing or were altered.
from medrob import execute, files, plan, study
from medrob.run import STAGES, Run

OPTIONS = study.options(config)
STUDY = study.load(OPTIONS.study)
RUNS = files.home() / "data" / "runs"
THREADS = OPTIONS.threads or max(1, (workflow.cores or 1) // len(STUDY.runs))
NETWORK = {"mem_mb": 4000, "gpu": OPTIONS.gpu}
LOCKS = []  # of one study at a time
NOW = RUNS / ".study.now"  # newer than every stamp
# What is missing or was altered.
UNTRUE = execute.look(plan.jobs(STUDY), NOW) if workflow.is_main_process else set()


def before(stage, run):
    """The stamps of the stages that a stage reads. If it stands, their time does not count."""
    # Snakemake's trigger for parameters takes those of a failed job for the last ones, and does not look
    # behind a job that runs anyway. A stage that does not stand runs after `NOW` instead.
    read = [Run(member).stamp(name) for member in STUDY.members(run) for name in plan.earlier(stage)]
    return ancient(read) if plan.stands(STUDY, stage, run, OPTIONS.notebooks, UNTRUE) else [*read, NOW]


onstart:
    LOCKS.append(files.hold(RUNS / ".study.lock", f"a study in {RUNS}"))


wildcard_constraints: run="|".join(map(re.escape, [*STUDY.runs, *STUDY.compare]))
localrules: all


rule all:
    input: [Run(run).stamp(stage) for run, stage in plan.jobs(STUDY)]


for STAGE in STAGES:  # the rules augment, train, test, heatmaps; analysis, of a run or of several side by side

    rule:
        name: STAGE.partition("_")[2]
        # A notebook's code is part of the plan, its outputs are not: its time does not count.
        input:
            lambda wildcards, stage=STAGE: before(stage, wildcards.run),
            notebook=ancient(OPTIONS.notebooks / f"{STAGE}.ipynb"),
        output: update(str(RUNS / "{run}" / "stamps" / f"{STAGE}.ipynb"))
        params:
            given=lambda wildcards, stage=STAGE: plan.given(STUDY, stage, wildcards.run),
            key=lambda wildcards, stage=STAGE: plan.key(STUDY, stage, wildcards.run, OPTIONS.notebooks),
        threads: THREADS
        resources: **(NETWORK if STAGE in plan.WITH_NETWORK else {})
        shell: "python -m medrob.execute {input.notebook:q} {wildcards.run} {params.key} {params.given:q}"
