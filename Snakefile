# Which notebook needs which: `make run`, or `snakemake --cores all`.
# A stage runs again when its parameters, its code or its inputs change, and at no other time.
# Another study: --config study=my.yaml. Several runs side by side: --config threads=1.
import base64
import json
from pathlib import Path

from medrob import runs, study

NOTEBOOKS = Path(workflow.basedir) / "notebooks"
STUDY = study.load(Path(config.get("study", Path(workflow.basedir) / "study.yaml")), NOTEBOOKS)
STAGES = list(runs.STAGES)


def executed(stage):
    return str(runs.home() / "data/runs/{run}/notebooks" / f"{stage}.ipynb")


def parameters(stage):
    """The notebook's parameters for a run, as papermill takes them: YAML in base64."""

    def of(wildcards):
        own = {"runs": [wildcards.run]} if stage == "05_analysis" else {"run": wildcards.run}
        return base64.b64encode(json.dumps(own | STUDY[wildcards.run][stage]).encode()).decode()

    return of


wildcard_constraints:
    run="[A-Za-z0-9][A-Za-z0-9._-]*",


rule all:
    input:
        expand(executed("05_analysis"), run=STUDY),


for stage, before in zip(STAGES, [None, *STAGES]):

    rule:
        name:
            f"notebook_{stage}"
        input:
            before=[executed(before)] if before else [],
            notebook=ancient(NOTEBOOKS / f"{stage}.ipynb"),
        output:
            executed(stage),
        log:
            executed(stage).replace(".ipynb", ".log"),
        params:
            parameters=parameters(stage),
            code=study.fingerprint(stage, NOTEBOOKS / f"{stage}.ipynb"),
        threads: int(config.get("threads", workflow.cores))
        message:
            f"{stage} of run {{wildcards.run}}"
        # A notebook that fails keeps its traceback in <stage>.ipynb.partial.ipynb; its end is shown here.
        shell:
            "papermill --no-progress-bar --log-level WARNING -k python3 -b {params.parameters}"
            " {input.notebook} {output}.partial.ipynb > {log} 2>&1"
            " || {{ tail -n 20 {log} >&2; exit 1; }};"
            " mv {output}.partial.ipynb {output}"
