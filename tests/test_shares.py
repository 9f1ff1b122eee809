import nbformat
import pandas as pd
import pytest
from medrob.runs import STAGES, Run
from medrob.runs.shares import share_of

from medrob import corruptions, drift, evaluation, study


def start(stage, **parameters):
    """A run, begun with a stage; the stages before it are there."""
    run = Run("one")
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        if earlier not in run.record["stages"]:
            run.start(earlier, run="one")
            for file in STAGES[earlier]:
                run.path(file).write_text("x")
            run.finish()
    return run.start(stage, run="one", **parameters)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 13])
def test_shares_are_all_in_order(count):
    items = list(range(26))
    parts = [share_of(items, f"{number}/{count}") for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("share", ["0/2", "3/2", "a", "1/2/3", "1", "-1/2", "1/14", " 1/2"])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(
        ValueError, match=r"give a part and how many there are, such as '2/4', with at most 13"
    ):
        share_of(list(range(26)), share)


TODO = corruptions.grid(["gaussian_noise", "contrast"])
STAGE_OF = {
    "predictions": ("03_test", evaluation.predict_conditions, {"seed": 3, "batch_size": 16}),
    "drift": ("04_heatmaps", drift.measure, {"seed": 3}),
}


@pytest.mark.parametrize("name", STAGE_OF)
def test_gathered_shares_are_the_table_bit_for_bit(name, network, tiny, monkeypatch):
    stage, function, options = STAGE_OF[name]
    few = tiny[:20]
    network = network if name == "predictions" else drift.Explainer(network, ["gradcam"], batch_size=16)
    whole = start(stage, seed=3, share="").shared(name, function, network, few, TODO, **options)
    for number in (3, 1, 2):
        start(stage, seed=3, share=f"{number}/3").shared(name, function, network, few, TODO, **options)

    def never(*arguments, **options):
        raise AssertionError("computed again")

    run = start(stage, seed=3, share="")
    gathered = run.shared(name, never, network, few, TODO, **options)
    entry = run.finish()
    assert 0 < entry["share_seconds"] <= entry["seconds"]
    pd.testing.assert_frame_equal(gathered, whole, check_exact=True)
    files = [Run("one").path(f"{kind}.parquet") for kind in ("gathered", "whole")]
    for file, table in zip(files, (gathered, whole), strict=True):
        table.to_parquet(file, index=False)
    assert files[0].read_bytes() == files[1].read_bytes()


def rows(model, dataset, items):
    return pd.DataFrame({"item": list(items), "word": [str(item) for item in items]})


def test_shares_of_other_parameters_or_a_part_of_them_are_not_mixed_in():
    for number in (1, 2):
        start("03_test", seed=0, share=f"{number}/2").shared("predictions", rows, None, None, range(8))
    other = start("03_test", seed=1, share="").shared("predictions", rows, None, None, range(9))
    assert len(other) == 9  # computed: the shares are of seed 0
    Run("one").path("shares", "predictions.1of2.parquet").unlink()
    assert len(start("03_test", seed=0, share="").shared("predictions", rows, None, None, range(10))) == 10


def test_the_notebook_of_a_share_stops_after_the_table(tmp_path):
    from test_study import NOTEBOOKS

    for stage, table in (("03_test", "predictions"), ("04_heatmaps", "drift")):
        study.write_share(NOTEBOOKS / f"{stage}.ipynb", tmp_path / "share.ipynb")
        cells = nbformat.read(tmp_path / "share.ipynb", as_version=4).cells
        assert f'study.shared("{table}"' in cells[-1].source
        assert 3 < len(cells) < 7 and "parameters" in cells[1].metadata["tags"]
    with pytest.raises(ValueError, match="cannot be split: none of its cells is tagged 'share'"):
        study.write_share(NOTEBOOKS / "01_augment.ipynb", tmp_path / "share.ipynb")
