# Which notebook needs which: `make run`, or `snakemake --cores all`; on a cluster `--profile profiles/slurm`.
# `snakemake -n` shows the plan. --config takes study=my.yaml, threads=2 (of a notebook), gpu=1 (graphics cards
# of a notebook with a network).
# A stage leaves a stamp for each of its files, which holds the file's checksum (medrob.execute). It stands if
# it was executed with the same parameters, data and code (medrob.plan); what does not stand runs again, and so
# do stages whose files are missing or were altered, and those that read what is made again.
from medrob import execute, files, plan, study

OPTIONS = study.options(config)
STUDY = study.load(OPTIONS.study)
RUNS = files.home() / "data" / "runs"
THREADS = OPTIONS.threads or max(1, (workflow.cores or 1) // len(STUDY.runs))
NETWORK = {"mem_mb": 4000, "gpu": OPTIONS.gpu}
LOCKS = []  # of one study at a time
NOW = RUNS / ".study.now"  # newer than every stamp
# Stamps of what is missing or was altered.
UNTRUE = execute.look(plan.jobs(STUDY), NOW) if workflow.is_main_process else set()


def stamps(stage, run="{run}"):
    """The stamps that a stage leaves."""
    return [str(RUNS / run / "stamps" / name) for name in execute.stamped(stage)]


def before(stage):
    """What a stage runs after: the stamps of the files that it reads. If it stands, their time does not count."""
    # Snakemake's trigger for parameters takes those of a failed job for the last ones, and does not look
    # behind a job that runs anyway. A stage that does not stand runs after `NOW` instead.
    def found(wildcards):
        read = plan.read(STUDY, stage, wildcards.run)
        stands = plan.stands(STUDY, stage, wildcards.run, OPTIONS.notebooks, UNTRUE)
        return ancient(read) if stands else [*read, NOW]

    return found


def told(function, stage, *more):
    """What the plan says of a stage of the run that is executed."""
    return lambda wildcards: function(STUDY, stage, wildcards.run, *more)


onstart:
    LOCKS.append(files.hold(RUNS / ".study.lock", f"a study in {RUNS}"))


wildcard_constraints: run="|".join(map(re.escape, [*STUDY.runs, *STUDY.compare]))
localrules: all


rule all:
    input: [stamps(stage, run) for run, stage in plan.jobs(STUDY)]


for STAGE in plan.STAGES:  # the rules augment, train, test, heatmaps; analysis, of a run or of several side by side

    rule:
        name: STAGE.partition("_")[2]
        # A notebook's code is part of the plan, its outputs are not: its time does not count.
        input: before(STAGE), notebook=ancient(OPTIONS.notebooks / f"{STAGE}.ipynb")
        output: update(stamps(STAGE))
        params:
            given=told(plan.given, STAGE),
            key=told(plan.key, STAGE, OPTIONS.notebooks),
        threads: THREADS
        resources: **(NETWORK if STAGE in plan.WITH_NETWORK else {})
        shell: "python -m medrob.execute {input.notebook:q} {wildcards.run} {params.key} {params.given:q}"
