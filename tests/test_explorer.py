"""The explorer: what it shows is what the package computes, and nothing that goes wrong stops it."""

import json

import cv2
import numpy as np
import pytest
from chain import save
from matplotlib.figure import Figure

import medrob
from medrob import corruptions, data, drift, evaluation, explorer, models
from medrob.run import Run
from medrob.saliency import Settings


@pytest.fixture
def run(network, tiny):
    """A run with a network and predictions: its record says how to load the data."""
    run = Run("one")
    began = {"dataset": "phantom", "size": 28, "limit": 60}
    run.folder.mkdir(parents=True)
    about = {"parameters": began, "splits": data.describe(tiny)}
    run.path("data.json").write_text(json.dumps(about))
    run.keep("01_augment", {"parameters": began | {"suite": "thesis", "seed": 3}, "seconds": 1.0})
    models.save(network, run.folder)
    conditions = [("clean", 0), ("contrast", 5)]
    save(run, "predictions", evaluation.predict_conditions(network, tiny, conditions, seed=3))
    return run


@pytest.mark.parametrize(
    ("method", "target"), [("gradcam", "predicted"), ("smoothgrad", "label"), ("gradcam", "nodule")]
)
def test_what_is_shown_is_what_is_measured(network, tiny, method, target):
    explain = drift.Explainer(network, [method], settings=Settings(samples=2))
    shown = explorer.Explorer(explain, tiny, ["gaussian_noise"], {}, target=target, seed=4)
    rows = np.array([7, 31])
    table = drift.measure(explain, tiny, [("gaussian_noise", 3)], images=rows, target=target, seed=4)
    for row in table[table["layer"] == table["layer"].iloc[-1]].itertuples():
        view = shown.look(row.image, row.corruption, row.severity, row.method, row.layer)
        assert view.rmse == pytest.approx(row.rmse, abs=1e-5)
        assert ("kept" in view.text) == row.preserved and f"{view.rmse:.3f}" in view.text
        noisy = corruptions.corrupt(tiny.images[[row.image]], "gaussian_noise", 3, seed=4, start=row.image)
        assert np.array_equal(view.pictures[1], noisy[0])
        p = evaluation.predict(network, np.concatenate([tiny.images[[row.image]], noisy]))
        assert np.allclose(view.probabilities.to_numpy().T, p, atol=1e-5)


def test_images_of_a_run_are_listed_by_class_and_by_what_became_of_them(run, network, tiny):
    shown = medrob.explore("one")
    changed = corruptions.corrupt(tiny.images, "contrast", 5, seed=3)
    p = [evaluation.predict(network, images).argmax(1) for images in (tiny.images, changed)]
    assert set(shown.choices.get("flipped", ())) == set(np.flatnonzero(p[0] != p[1]))
    assert set(shown.choices["wrong"]) == set(np.flatnonzero(p[0] != tiny.labels))
    assert set(shown.choices["class nodule"]) == set(np.flatnonzero(tiny.labels == 1))
    assert shown.seed == 3 and len(shown.choices["all"]) == 60
    only = shown.explainer.only(["gradcam"], [shown.explainer.layers[1]])
    moved = drift.measure(only, shown.dataset, [("contrast", 5)], images=np.array([1, 25, 50]), seed=3)
    save(run, "drift", moved)
    most = medrob.explore("one").choices["largest drift"]
    assert list(most) == list(moved.sort_values("rmse", ascending=False)["image"])


def test_pictures_of_ones_own_are_taken(run, network, tmp_path):
    file = tmp_path / "mine.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))
    shown = medrob.explore("one", images=file)
    assert shown.dataset.images.shape == (1, 28, 28, 1) and shown.dataset.class_names[1] == "nodule"
    assert shown.look(**shown.start).pictures.shape == (2, 28, 28, 1)
    for shape in ((20, 20), (2, 20, 20), (2, 20, 20, 1)):
        images = np.zeros(shape, np.uint8)
        shown = medrob.explore("one", images=images)
        assert shown.dataset.images.shape[1:] == (20, 20, 1) and list(shown.choices) == ["all"]
    assert shown.start["method"] == "gradcam"  # the declared one, and not the last
    assert medrob.explore("one", images=images, methods=["saliency"]).start["layer"] == "input"
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors .*02_train") as refused:
        medrob.explore("two")
    assert refused.value._render_traceback_() == [f"FileNotFoundError: {refused.value}"]


@pytest.fixture
def shown(monkeypatch):
    """What is shown, the last at the end."""
    shown = []
    monkeypatch.setattr(explorer, "display", shown.append)
    return shown


def test_the_panel_draws_what_is_chosen_and_says_what_goes_wrong(network, tiny, shown):
    explain = drift.Explainer(network, ["gradcam"])
    one = explorer.Explorer(explain, tiny, corruptions.names("thesis"), {}, target="predicted", seed=0)
    panel = one.panel()
    among, place, severity, *_, method, _ = panel.kwargs_widgets
    severity.value = 5
    assert f"{one.look(**one.start | {'severity': 5}).rmse:.3f}" in shown[-1].data
    place.value = 30
    among.value = "class nodule"
    nodule = np.flatnonzero(tiny.labels == 1)[0]
    assert f"Image {nodule}:" in shown[-1].data and isinstance(shown[-2], Figure)
    method.value = "scorecam"
    network.normalise.forward = lambda x: x.no_such_thing  # as of a network that is broken
    severity.value = 1
    assert "no_such_thing" in shown[-1].data


def test_a_picture_stands_where_nobody_moves_a_slider(run, network, shown):
    medrob.explore("one")._ipython_display_()
    sheet, text = shown
    assert [ax.get_title() for ax in sheet.axes[:2]] == ["clean", "gaussian noise 3"]
    assert "Drift" in text.data or "no drift" in text.data
