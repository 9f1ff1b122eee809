import numpy as np
import pandas as pd
import pytest
import torch
from map_checks import proper

from medrob import corruptions, data, drift, evaluation, trust
from medrob.drift import Explainer
from medrob.trust.localisation import expected_iou

CORNER = torch.tensor(np.kron([[True, False], [False, False]], np.ones((2, 2), bool))[None])


def test_localisation_of_an_enlarged_map_worked_by_hand():
    """[1, 0] enlarged to 4 is [1, .75, .25, 0]: the map is its product with itself."""
    found = drift.localise(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), CORNER)
    assert found["energy"] == pytest.approx(1.75**2 / 2**2)
    assert found["pointing"] == 1 and found["iou"] == 1
    away = drift.localise(torch.tensor([[[0.0, -3.0], [0.0, 1.0]]]), CORNER)
    assert away["energy"] == pytest.approx(0.25 * 0.25 / 4)
    assert away["pointing"] == 0 and away["iou"] == 0


def test_ties_count_in_part():
    maps = torch.zeros(2, 4, 4)
    maps[0, :2, :3] = 5  # six are highest, four of them inside; four are asked for
    maps[1, 3, 3], maps[1, 0, 0] = 2, 1  # then fourteen zeros for two places, three of them inside
    found = drift.localise(maps, CORNER.repeat(2, 1, 1))
    np.testing.assert_allclose(found["pointing"], [4 / 6, 0])
    np.testing.assert_allclose(found["energy"], [4 / 6, 1 / 3])
    shared = np.array([4 * 4 / 6, 1 + 2 * 3 / 14])
    np.testing.assert_allclose(found["iou"], shared / (8 - shared), rtol=1e-6)


def test_maps_without_content_and_empty_masks_are_not_scored():
    maps = torch.stack([torch.eye(4), -torch.eye(4), torch.ones(4, 4), torch.eye(4)])
    masks = CORNER.repeat(4, 1, 1)
    masks[3] = False
    for value in drift.localise(maps, masks).values():
        assert value.isnan().tolist() == [False, True, True, True]


def test_chance_of_iou_worked_by_hand():
    """Two of six drawn, two marked: of 15 draws one has both (IoU 1), eight have one (IoU 1/3)."""
    assert expected_iou(2, 6) == pytest.approx((1 + 8 / 3) / 15)
    assert expected_iou(6, 6) == pytest.approx(1)
    assert expected_iou(300, 1000) == pytest.approx(0.3 / 1.7, rel=0.01)


@pytest.fixture(scope="module")
def masked():
    """Phantom pictures; some have a lesion and some have none."""
    dataset = data.load("phantom", "test", size=28, limit=12)
    assert 0 < dataset.masks.any((1, 2)).sum() < 12
    return dataset


GRID = [("clean", 0), ("contrast", 5), ("gaussian_noise", 2)]


def test_locating_is_the_comparison_of_explained_pictures(network, masked):
    """In the table of drift: corrupted maps, and the clean ones in columns of their own."""
    explainer = Explainer(network, ["gradcam", "layercam"], ["layer1.0", "layer4.1"], batch_size=5)
    targets = evaluation.predict(network, masked.images).argmax(1)
    found = drift.measure(explainer, masked, GRID)
    by = found.set_index(["corruption", "severity", "method", "layer"]).sort_index()
    for condition in GRID:
        pictures = corruptions.apply_condition(masked.images, condition, seed=0, index=np.arange(12))
        suffix = "_clean" if condition[0] == "clean" else ""
        for key, maps in explainer.explain(pictures, targets).items():
            here = by.loc[(*(GRID[1] if suffix else condition), *key)]
            for test, value in drift.localise(*map(torch.from_numpy, (maps, masked.masks))).items():
                np.testing.assert_allclose(here[test + suffix], value, atol=1e-3)


def located(energy, preserved, **columns):
    """A table of drift, an image a row; clean, energy is .5 and what the others are stays."""
    usual = dict(corruption="contrast", severity=1, label=0, size=4, method="a", layer="b", energy_clean=0.5)
    usual |= dict(pointing=1.0, iou=0.5, pointing_clean=1.0, iou_clean=0.5)
    frame = pd.DataFrame(dict(image=range(len(energy)), energy=energy, preserved=preserved))
    return frame.assign(**usual | columns)


def test_rows_of_localisation_worked_by_hand():
    masks = np.zeros((4, 4, 4), bool)
    masks[0, :2, :2], masks[1, 0], masks[3, 0, 0] = True, True, True  # the third is empty
    missing = dict(pointing=[1, 0, np.nan, np.nan], iou=[0.3, 0.1, np.nan, np.nan])
    table = located([0.4, 0.2, np.nan, np.nan], [True, False, False, True], **missing)
    rows = trust.localisation(table, masks)
    proper(rows)
    best = rows[rows["stage"] == "attainable"]  # a map of 4 x 4 positions can be the mask itself
    assert best["value"].tolist() == [1, 1, 1] and best["images"].tolist() == [3, 3, 3]
    clean = rows[(rows["severity"] == 0) & (rows["stage"] == "")]
    assert clean["value"].tolist() == [0.5, 1, 0.5] and (clean["corruption"] == "clean").all()
    assert clean["images"].tolist() == [3] * 3
    rows = rows[(rows["stage"] == "") & (rows["severity"] == 1)]
    assert rows["test"].tolist() == ["energy", "pointing", "iou"] and (rows["images"] == 2).all()
    assert (rows["degenerate"] == 1).all()  # the fourth; the third has no mask
    np.testing.assert_allclose(rows["value"], [0.3, 0.5, 0.2])
    np.testing.assert_allclose(rows["chance"], [0.25, 0.25, expected_iou(4, 16)])


def test_a_coarse_map_can_attain_less():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 2:4, 2:4] = True  # one of 4 x 4 positions, enlarged to four with a slope around it
    rows = [trust.localisation(located([0.5], True, size=size), masks) for size in (8, 4, 2)]
    energy = [table.query("stage == 'attainable'")["value"] for table in rows]
    assert energy[0].tolist() == [1, 1, 1]
    assert energy[1].iloc[0] == pytest.approx((2 * 0.75) ** 2 / 4)  # weights .25, .75, .75, .25 along a side
    assert energy[1].iloc[1] == 1 and energy[2].iloc[0] < energy[1].iloc[0]


def test_localisation_under_a_corruption_is_compared_with_the_same_images_clean():
    masks = np.repeat(CORNER.numpy(), 9, 0)
    table = located([0.4, 0.2, np.nan] * 3, True, energy_clean=[0.5, 0.5, 0.9] * 3)
    rows = trust.localisation(table.assign(corruption="fog", severity=2), masks)
    change = rows[rows["stage"] == "change"].set_index("test")
    np.testing.assert_allclose(change["value"], [-0.2, 0, 0])
    assert change["images"].tolist() == [6, 9, 9] and change["degenerate"].tolist() == [3, 0, 0]
    assert (change["chance"] == 0).all()


def test_localisation_of_each_class_when_clean():
    masks = np.repeat(CORNER.numpy(), 4, 0)
    table = located([0.4] * 4, True, label=[0, 0, 1, 1], pointing_clean=[1.0, 0.0, 1.0, np.nan])
    rows = trust.localisation(table, masks, classes=("change", "b")).query("test == 'pointing'")
    rows = rows[rows["severity"] == 0].set_index("stage")
    assert rows["value"].to_dict() == {"": 2 / 3, "class change": 0.5, "class b": 1.0, "attainable": 1.0}
    assert rows["images"].to_dict() == {"": 3, "class change": 2, "class b": 1, "attainable": 4}
