import nbformat
import pandas as pd
import pytest

from medrob import corruptions, drift, evaluation
from medrob.execute import share_notebook
from medrob.files import PROJECT
from medrob.stage import in_shares, share_of

TODO = corruptions.grid(["gaussian_noise", "contrast"])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 13])
def test_shares_are_all_in_order(count):
    items = list(range(26))
    parts = [share_of(items, f"{number}/{count}") for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("share", ["0/2", "3/2", "a", "1/2/3", "1", "-1/2", "1/14", " 1/2"])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match=r"such as '2/4', with at most 13 parts"):
        share_of(list(range(26)), share)


@pytest.mark.parametrize("name", ["predictions", "drift"])
def test_gathered_shares_are_the_table_bit_for_bit(name, network, tiny, tmp_path):
    few = tiny[:20]

    def rows(part):
        if name == "predictions":
            return evaluation.predict_conditions(network, few, part, seed=3, batch_size=16)
        return drift.measure(drift.Explainer(network, ["gradcam"], batch_size=16), few, part, seed=3)

    def never(part):
        raise AssertionError("computed again")

    whole = in_shares(tmp_path / "whole", "", {"seed": 3}, TODO, rows)
    for number in (3, 1, 2):
        in_shares(tmp_path / "parts", f"{number}/3", {"seed": 3}, TODO, rows)
    gathered = in_shares(tmp_path / "parts", "", {"seed": 3}, TODO, never)
    pd.testing.assert_frame_equal(gathered, whole, check_exact=True)
    files = [tmp_path / f"{kind}.parquet" for kind in ("gathered", "whole")]
    for file, table in zip(files, (gathered, whole), strict=True):
        table.to_parquet(file, index=False)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_shares_of_other_parameters_or_a_part_of_them_are_not_mixed_in(tmp_path):
    def rows(part):
        return pd.DataFrame({"item": part, "word": [str(item) for item in part]})

    for number in (1, 2):
        in_shares(tmp_path, f"{number}/2", {"seed": 0}, list(range(8)), rows)
    assert len(in_shares(tmp_path, "", {"seed": 0}, list(range(10)), rows)) == 8
    assert len(in_shares(tmp_path, "", {"seed": 1}, list(range(9)), rows)) == 9
    (tmp_path / "1-of-2.parquet").unlink()
    assert len(in_shares(tmp_path, "", {"seed": 0}, list(range(10)), rows)) == 10


def test_the_notebook_of_a_share_stops_after_the_table(tmp_path):
    for stage, table in (("03_test", "predictions"), ("04_heatmaps", "drift")):
        share_notebook(PROJECT / "notebooks" / f"{stage}.ipynb", tmp_path / "share.ipynb")
        cells = nbformat.read(tmp_path / "share.ipynb", as_version=4).cells
        assert f'stage.shared("{table}"' in cells[-1].source
        assert 3 < len(cells) < 7 and "parameters" in cells[1].metadata["tags"]
    with pytest.raises(ValueError, match="cannot be split: none of its cells is tagged 'share'"):
        share_notebook(PROJECT / "notebooks" / "01_augment.ipynb", tmp_path / "share.ipynb")
