from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from medrob import corruptions, data, drift, evaluation, models, saliency
from medrob.drift import LOCALISATION, SIMILARITIES, Explainer, compare, measure

METHODS = ["gradcam", "layercam"]
LAYERS = ["layer1.0", "layer3.1"]
ASK = dict(methods=METHODS, layers=LAYERS)
CONDITIONS = [("clean", 0), ("contrast", 5), ("gaussian_noise", 1), ("gaussian_noise", 5)]
COLUMNS = ["image", "label", "corruption", "severity", "method", "layer", "size"]
COLUMNS += ["target", "logit_clean", "preserved", "logit", "degenerate"]
LOGITS = ["logit_clean", "logit"]
PLACES = [*LOCALISATION, "amount", *(f"{test}_clean" for test in LOCALISATION), "amount_clean"]
KEY = ["image", "corruption", "severity", "method", "layer"]


@pytest.fixture(scope="module")
def dataset():
    return data.load("phantom", "test", size=28, limit=12)


@pytest.fixture(scope="module")
def model(dataset):
    """A random network that is in doubt: its mean logits are equal, so that corruption flips predictions."""
    model = models.build(in_channels=1, num_classes=3, width=4, seed=0).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(dataset.images).permute(0, 3, 1, 2))
        model.backbone.fc.bias -= logits.mean(0)
    return model


@pytest.fixture(scope="module")
def explainer(model):
    return Explainer(model, METHODS, LAYERS)


@pytest.fixture(scope="module")
def moved(explainer, dataset):
    return measure(explainer, dataset, CONDITIONS)


@pytest.fixture(scope="module")
def predictions(model, dataset):
    return evaluation.predict_conditions(model, dataset, CONDITIONS)


def test_a_row_for_each_image_condition_method_and_layer(moved, dataset):
    assert list(moved.columns) == [*COLUMNS, *SIMILARITIES, *PLACES]
    assert len(moved) == 12 * 3 * 2 * 2 and not moved.duplicated(KEY).any()
    expected = pd.MultiIndex.from_product([range(12), CONDITIONS[1:], METHODS, LAYERS])
    rows = {(r.image, (r.corruption, r.severity), r.method, r.layer) for r in moved.itertuples()}
    assert rows == {*expected}
    assert "clean" not in set(moved["corruption"]) and moved["severity"].min() == 1
    np.testing.assert_array_equal(moved["label"], dataset.labels[moved["image"]])
    assert dict(zip(moved["layer"], moved["size"], strict=True)) == {"layer1.0": 28, "layer3.1": 7}


def test_it_is_the_comparison_of_explained_pictures(moved, model, dataset):
    """The same numbers by the public parts: predict, corrupt, explain, compare."""
    clean = evaluation.predict(model, dataset.images).argmax(1)
    images = corruptions.apply_condition(dataset.images, ("gaussian_noise", 5), seed=0, index=np.arange(12))
    a, b = (
        saliency.explain(model, x, methods=METHODS, layers=LAYERS, targets=clean)
        for x in (dataset.images, images)
    )
    rows = moved[(moved["corruption"] == "gaussian_noise") & (moved["severity"] == 5)]
    for key in a:
        here = rows[(rows["method"] == key[0]) & (rows["layer"] == key[1])]
        for metric, value in compare(a[key], b[key]).items():
            np.testing.assert_allclose(here[metric], value, atol=1e-4)


def test_amount_and_logit_are_those_of_the_maps_and_of_the_network(moved, model, dataset):
    changed = corruptions.apply_condition(dataset.images, ("contrast", 5), seed=0, index=np.arange(12))
    rows = moved[(moved["corruption"] == "contrast") & (moved["method"] == "gradcam")]
    rows = rows[rows["layer"] == "layer3.1"]
    targets = rows["target"].to_numpy()
    for images, end in ((dataset.images, "_clean"), (changed, "")):
        maps = saliency.explain(model, images, **ASK, targets=targets)["gradcam", "layer3.1"]
        assert rows[f"amount{end}"].tolist() == pytest.approx(np.maximum(maps, 0).sum((1, 2)), rel=1e-4)
        with torch.no_grad():
            logits = model.eval()(torch.tensor(images).permute(0, 3, 1, 2).float()).numpy()
        assert rows[f"logit{end}"].tolist() == pytest.approx(logits[np.arange(12), targets], abs=1e-4)


def test_the_class_explained_is_the_clean_prediction_at_every_severity(moved, predictions):
    clean = predictions[predictions["corruption"] == "clean"]["predicted"].to_numpy()
    np.testing.assert_array_equal(moved["target"], clean[moved["image"]])
    assert not moved["preserved"].all() and moved["preserved"].any()
    rows = moved.merge(predictions[["image", "corruption", "severity", "predicted"]])
    np.testing.assert_array_equal(rows["preserved"], rows["predicted"] == rows["target"])


def test_batch_size_does_not_matter(moved, explainer, dataset):
    assert_same(measure(replace(explainer, batch_size=5), dataset, CONDITIONS), moved)


def assert_same(a, b):
    assert list(a) == list(b)
    exact = [name for name in COLUMNS if name not in LOGITS]
    pd.testing.assert_frame_equal(a[exact], b[exact])
    for name in LOGITS:
        np.testing.assert_allclose(a[name], b[name], atol=1e-5)
    for name in SIMILARITIES:
        np.testing.assert_allclose(a[name], b[name], atol=2e-3)


def test_rows_of_a_selection_are_those_of_the_whole(moved, explainer, dataset):
    images, groups = [7, 3, 11], np.array([f"P{i // 3}" for i in range(12)])
    part = measure(explainer, replace(dataset, groups=groups), CONDITIONS, images=np.array(images))
    assert part["image"].tolist() == images * 12
    assert (part.pop("group") == part["image"].map({7: "P2", 3: "P1", 11: "P3"})).all()
    assert_same(part, part[KEY].merge(moved, how="left")[list(moved)])


def test_the_seed_changes_noise_and_nothing_else(moved, explainer, dataset):
    other = measure(explainer, dataset, CONDITIONS, seed=1)
    same = np.isclose(other["rmse"], moved["rmse"], atol=1e-6) | moved["degenerate"]
    assert same[moved["corruption"] == "contrast"].all() and not same[moved["corruption"] != "contrast"].all()


class Shy(nn.Module):
    """Two labels with the same kernels and no `config`; only the second is there when it is bright."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        bright = self.conv(x).mean((2, 3)) * 1e-9 + x.mean((1, 2, 3))[:, None]
        return torch.cat([bright[:, :1] + 1000, 100 - bright[:, 1:]], 1)  # the first is always the larger


@pytest.mark.parametrize(("target", "preserved"), [("0", True), ("1", False)])
def test_multi_label_preserved_is_of_the_label_explained(target, preserved):
    images = np.full((4, 16, 16, 1), 60, np.uint8)
    images[:, 4:9, 4:9] = 90
    dataset = data.ImageDataset(images, np.eye(4, 2, dtype=int), task="multilabel")
    rows = measure(Explainer(Shy(), "gradcam", "conv"), dataset, [("brightness", 5)], target=target)
    assert (rows["preserved"] == preserved).all() and (rows["label"] == -1).all() and len(rows) == 4


def test_maps_of_the_input_have_no_layer_to_be_chosen(model, dataset):
    both = Explainer(model, ["gradcam", "saliency"], LAYERS)
    assert both.pairs == [("gradcam", LAYERS[0]), ("gradcam", LAYERS[1]), ("saliency", "input")]
    assert list(both.explain(dataset.images[:2])) == both.pairs


def test_the_class_explained(explainer, dataset, predictions):
    """By its name, or as predicted when clean: of one image under each condition."""
    image, rows = 11, [("gaussian_noise", 5), ("clean", 0), ("contrast", 5)]
    clean = predictions[predictions["corruption"] == "clean"].set_index("image")["predicted"]
    for target, number in {"predicted": clean[image], dataset.class_names[1]: 1}.items():
        view = drift.one_image(explainer, dataset, image, rows, target=target, seed=0)
        assert (view.target, view.name) == (number, dataset.class_names[number])
        np.testing.assert_array_equal(view.pictures[1], dataset.images[image])
        assert [*view.maps] == [("gradcam", layer) for layer in LAYERS]
        alone = explainer.explain(view.pictures[:1], number)["gradcam", LAYERS[0]]
        np.testing.assert_allclose(view.maps["gradcam", LAYERS[0]][:1], alone, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match=r"target='3' is unknown; give one of predicted, label, normal"):
        drift.targets("3", dataset, np.array([0]))
