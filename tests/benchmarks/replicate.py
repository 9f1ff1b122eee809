"""Published results beside ours, on real data: `make replicate SETS="a.npz cells/table.csv" SEEDS=3`.

Without SETS, every MedMNIST set that lies in data/ or ~/.medmnist, or that can be downloaded. The recipe is
cheap: ResNet-18 of width 16, 6 epochs; published are width 64 and 100 epochs.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from medrob import analysis, data
from medrob.evaluation import drawn, interval
from medrob.files import home
from medrob.run import Run

# Yang et al. (2023), MedMNIST v2: ResNet-18 at 28 px, AUC and accuracy.
PUBLISHED = {
    "pathmnist": (0.983, 0.907), "chestmnist": (0.768, 0.947), "dermamnist": (0.917, 0.735),
    "octmnist": (0.943, 0.743), "pneumoniamnist": (0.944, 0.854), "retinamnist": (0.717, 0.524),
    "breastmnist": (0.901, 0.863), "bloodmnist": (0.998, 0.958), "tissuemnist": (0.930, 0.676),
    "organamnist": (0.997, 0.935), "organcmnist": (0.992, 0.900), "organsmnist": (0.972, 0.782),
}  # fmt: skip
RECIPE = {"arch": "resnet18", "width": 16, "epochs": 6, "lr": 0.004, "batch_size": 128}
LAYERS = ["layer3.1", "layer4.1"]
# Repetto et al. (2025): ResNet-50, 224 px, three MedMNIST sets. Random weights: Adebayo et al. (2018).
STEADIER = {
    "Grad-CAM++ steadier than Grad-CAM, corruptions, by SSIM": "unlike",  # maps of 7 positions a side or more
    "the same, by RMSE": "rmse",
    "the same, each as a share of the way to the map of another picture": "share",
}


def obtainable() -> list[str]:
    """The MedMNIST sets that this machine has or can get; the others are named."""
    found = []
    for name in PUBLISHED:
        try:
            data.load(name, "test")
            found.append(name)
        except (OSError, RuntimeError, ValueError) as error:
            print(f"without {name}: {str(error).splitlines()[0]}")
    return found


def study(sets: list[str], seeds: int) -> dict[str, dict]:
    """The parameters of every run: a set and a seed of the training."""
    runs = {}
    for given in sets:
        name = Path(given).parent.name if Path(given).suffix in (".csv", ".parquet") else Path(given).stem
        suite = f"medmnist-c:{name}" if name in PUBLISHED else "imagenet-c"
        for seed in range(seeds):
            runs[f"replicate-{name}-{seed}"] = {
                "01_augment": {"dataset": given, "suite": suite},
                "02_train": {**RECIPE, "seed": seed},
                # A list of its own: YAML writes one list twice as an alias.
                "04_heatmaps": {"layers": [*LAYERS]},
            }
    return runs


def name_of(run: str) -> str:
    """The data set of a run: replicate-<set>-<seed>."""
    return run.removeprefix("replicate-").rpartition("-")[0]


def steadiness(moved: pd.DataFrame, column: str) -> tuple[str, bool]:
    """Under how many corruptions Grad-CAM++ moves less than Grad-CAM, and whether on the whole it does.

    The interval resamples patients.
    """
    wide = moved.pivot_table(index="image", columns=["method", "corruption"], values=column)
    ahead = (wide["gradcam"] - wide["gradcam++"]).to_numpy()
    images = moved.drop_duplicates("image").set_index("image", drop=False).loc[wide.index]
    known, w = np.isfinite(ahead), drawn(images, 2000)
    mean = (w @ np.where(known, ahead, 0) / (w @ known)).mean(1)
    low, high = interval(mean[1:])
    better = (np.nanmean(ahead, axis=0) > 0).sum()
    return f"{better} of {ahead.shape[1]} ({mean[0]:+.3f}, {low:+.3f} to {high:+.3f})", low > 0


def rows(name: str, members: list[Run]) -> list[tuple[str, str, str, str]]:
    """What, published, found, and in how many runs the published value lies inside their interval."""
    found = []
    for k, metric in enumerate(("auc", "accuracy")):
        tables = [run.table("scores").query("severity == 0 and `class` == 'all'") for run in members]
        values = [table.set_index("metric").loc[metric] for table in tables]
        low, high = values[0]["low"], values[0]["high"]
        ours = ", ".join(f"{row['value']:.3f}" for row in values) + f" ({low:.3f} to {high:.3f})"
        known, side = PUBLISHED.get(name), "-"
        if known:
            inside = sum(row["low"] <= known[k] <= row["high"] for row in values)
            side = f"inside {inside} of {len(values)}, outside {len(values) - inside}"
        found.append((metric, f"{known[k]:.3f}" if known else "-", ours, side))
    last = [moved[moved["layer"] == LAYERS[-1]] for moved in (run.table("drift") for run in members)]
    for k, moved in enumerate(last):  # that way is estimated from the same images (`analysis.mean_drift`)
        mean = moved.groupby(["method", "corruption"])["normalised"].transform("mean")
        share = moved["normalised"] - mean * (moved["another"] - 1)
        last[k] = moved.assign(share=share, unlike=1 - moved["ssim"])
    for what, column in STEADIER.items():  # at the last block, which they took
        if last[0][column].isna().all():
            continue
        steadier, yes = zip(*(steadiness(moved, column) for moved in last), strict=True)
        found.append((what, "9 of 9, by SSIM", ", ".join(steadier), f"so in {sum(yes)} of {len(yes)}"))
    changed = []
    for run, moved in zip(members, last, strict=True):
        rows = analysis.verdicts(run.table("trust")).query("layer == @LAYERS[-1]").set_index("method")
        rows = rows.loc[analysis.distinct(moved)["method"].unique()]  # one map is one piece of evidence
        ours = "Grad-CAM {value:.2f}, {low:.2f} to {high:.2f}".format(**rows.loc["gradcam"])
        changed.append(f"{(rows['verdict'] == 'passed').sum()} of {len(rows)} ({ours})")
    found.append(("maps that change with random weights", "Grad-CAM's does", ", ".join(changed), ""))
    for question in analysis.QUESTIONS:
        if question.plain:  # without holding fixed what is known anyway
            tests = [analysis.declared_kinds(run.table("association")) for run in members]
            plain = (table.loc[question.plain] for table in tests)
            said = [f"{row['value']:+.3f} (p {row['p_adjusted']:.2g})" for row in plain]
            found.append((f"{question.title}, {question.plain}", "-", ", ".join(said), ""))
        said = []
        for run in members:
            answers = analysis.answers(run.table("association")).set_index("name").loc[question.name]
            value, low, high = answers[["value", "low", "high"]]
            ends = f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else ""
            controls = f"; {answers['controls']}" if answers["controls"] else ""
            said.append(f"{answers['verdict']} {value:+.3f}{ends}{controls}")
        found.append((question.title, "-", ", ".join(said), ""))
    joint = []
    for run in members:
        alarms = analysis.alarms(run.table("predictions"), run.table("alarm"))
        for row in alarms.query("pictures == 'same corruption' and signal == 'all scores'").to_dict(
            "records"
        ):
            ahead = [row[end] for end in ("ahead", "ahead_low", "ahead_high")]
            joint.append("{:.3f}, {:+.3f} ({:+.3f} to {:+.3f})".format(row["value"], *ahead))
    found.append(("AUROC of all scores of an alarm; the unsteady map adds", "-", "; ".join(joint), ""))
    return found


def main() -> None:
    """Run the study, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    choice = parser.parse_args()
    runs = study(choice.sets or obtainable(), choice.seeds)
    if not runs:
        sys.exit("no data set: give paths, such as SETS=pneumoniamnist.npz")
    file = home() / "data" / "replicate.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    sets = dict.fromkeys(map(name_of, runs))
    compare = {f"replicate-{name}": [run for run in runs if name_of(run) == name] for name in sets}
    together = {"compare": compare} if choice.seeds > 1 else {}
    file.write_text(yaml.safe_dump({"runs": runs, **together}))
    subprocess.run(["snakemake", "--cores", "all", "--config", f"study={file}"], check=True)
    print("| data | what | published | found (95 % interval; of scores: first seed) | published value |")
    print("|---|---|---|---|---|")
    for name in sets:
        members = [Run(run) for run in runs if name_of(run) == name]
        for row in rows(name, members):
            print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
