import numpy as np
import pandas as pd
import pytest
import torch

from medrob import conditions, drift, evaluation, saliency, similarity

METHODS = ["gradcam", "layercam"]
LAYERS = ["layer2.0", "layer4.1"]
TODO = [("clean", 0), ("gaussian_noise", 2), ("contrast", 5)]


@pytest.fixture
def few(tiny):
    return tiny[:12]


def measured(network, few, **options):
    return drift.measure(network, few, TODO, methods=METHODS, layers=LAYERS, **options)


def test_a_row_for_every_image_condition_method_and_layer(network, few):
    rows = measured(network, few)
    keys = ["image", "corruption", "severity", "method", "layer"]
    assert len(rows) == 12 * 2 * 2 * 2
    assert not rows.duplicated(keys).any()
    assert set(zip(rows["corruption"], rows["severity"], strict=True)) == set(TODO[1:])
    assert (rows["label"].to_numpy() == few.labels[rows["image"]]).all()
    assert rows.groupby("layer")["size"].first().to_dict() == {"layer2.0": 14, "layer4.1": 4}


def test_a_row_is_the_comparison_of_two_maps_of_the_class_predicted_when_clean(network, few):
    rows = measured(network, few)
    clean = evaluation.predict(network, few.images).argmax(1)
    moved = conditions.apply(few.images, ("contrast", 5), seed=0, index=np.arange(12))
    maps = [
        saliency.explain(network, x, methods=["gradcam"], layers=["layer2.0"], targets=clean)[
            "gradcam", "layer2.0"
        ]
        for x in (few.images, moved)
    ]
    row = rows.query("corruption == 'contrast' and method == 'gradcam' and layer == 'layer2.0'")
    np.testing.assert_allclose(row["rmse"], similarity.compare(*maps)["rmse"], atol=1e-5)
    assert (row["target"] == clean).all()
    kept = evaluation.predict(network, moved).argmax(1) == clean
    assert (row["preserved"] == kept).all()


def test_batches_and_selection_do_not_matter(network, few):
    whole = measured(network, few)
    pd.testing.assert_frame_equal(whole, measured(network, few, batch_size=5), atol=1e-4)
    chosen = np.array([1, 2, 7, 11])
    some = measured(network, few, images=chosen)
    expected = whole[whole["image"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(expected, some, atol=1e-4)


def test_the_model_is_left_as_found(network, few):
    network.train()
    measured(network, few[:2])
    assert network.training
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": [0, 99]}, "indices from 0 to 11"),
        ({"images": []}, "nothing to measure|indices"),
        ({"metrics": ["rmsd"]}, "rmsd.*rmse, ssim"),
        ({"methods": ["gradcan"]}, "gradcan.*gradcam"),
        ({"layers": ["layer9"]}, r"layer9.*layer4\.1"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_measured_is_refused(network, few, options, message):
    with pytest.raises(ValueError, match=message):
        drift.measure(network, few, TODO, **{"methods": METHODS, "layers": LAYERS, **options})


@pytest.fixture
def predictions(few):
    predicted = few.labels.copy()
    predicted[:4] = (predicted[:4] + 1) % 3
    clean = pd.DataFrame(
        {
            "image": np.arange(12),
            "corruption": "clean",
            "severity": 0,
            "label": few.labels,
            "predicted": predicted,
        }
    )
    return pd.concat([clean, clean.assign(corruption="contrast", severity=1)], ignore_index=True)


def test_select(predictions, few):
    assert drift.select(predictions).tolist() == list(range(12))
    two = drift.select(predictions, images=2, seed=4)
    assert np.bincount(few.labels[two]).tolist() == [2, 2, 2]
    assert (two == drift.select(predictions, images=2, seed=4)).all()
    assert any((drift.select(predictions, images=2, seed=s).tolist() != two.tolist()) for s in range(5))
    assert drift.select(predictions, how="wrong").tolist() == [0, 1, 2, 3]
    assert drift.select(predictions, how="correct").tolist() == list(range(4, 12))
    assert drift.select(predictions, images=[7, 3, 7]).tolist() == [3, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "best"}, "select='best'.*random"),
        ({"images": -1}, "images=-1"),
        ({"images": [12]}, "0 to 11"),
        ({"images": []}, "images"),
    ],
)
def test_select_refuses(predictions, options, message):
    with pytest.raises(ValueError, match=message):
        drift.select(predictions, **options)


def test_nothing_wrong_to_choose_from(predictions):
    with pytest.raises(ValueError, match="no such image"):
        drift.select(predictions.assign(predicted=predictions["label"]), how="wrong")


def test_a_network_of_no_positive_evidence_is_degenerate_not_stable(network, few):
    with torch.no_grad():
        network.backbone.fc.weight.zero_()
    rows = measured(network, few)
    assert rows["degenerate"].all()
    assert rows[["rmse", "ssim", "spearman", "iou10"]].isna().all().all()
