"""Prediction: probabilities of images, and of a data set under conditions."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

from medrob import drift, evaluation, models, saliency
from medrob.corruptions import CLEAN
from medrob.data import ImageDataset
from medrob.evaluation import predict, predict_conditions, score


def test_predict_does_not_depend_on_the_batch(network, tiny):
    whole = predict(network, tiny.images)
    assert whole.dtype == np.float32 and whole.shape == (60, 3)
    assert whole.sum(1) == pytest.approx(1) and (whole >= 0).all()
    assert np.abs(predict(network, tiny.images[:5], batch_size=1) - whole[:5]).max() < 1e-5
    for size in (7, 59):
        assert np.abs(predict(network, tiny.images, batch_size=size) - whole).max() < 1e-5
    order = np.random.default_rng(0).permutation(60)
    assert np.abs(predict(network, tiny.images[order]) - whole[order]).max() < 1e-5


def test_predict_gives_the_mode_back(network, tiny):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for mode in (True, False):
        network.train(mode)
        predict(network, tiny.images[:4])
        assert network.training == mode
        rgb = np.zeros((2, 28, 28, 3), np.uint8)
        for call in (predict, functools.partial(saliency.explain, methods=["gradcam"])):
            with pytest.raises(ValueError, match=r"takes images of 1 channel .*, and these have 3"):
                call(network, rgb)
            assert network.training == mode
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())  # batch norm untouched
    assert all(p.grad is None for p in network.parameters())


def test_predict_refuses_what_would_give_wrong_numbers(network, tiny):
    with pytest.raises(TypeError, match="images are float64; give a uint8 array"):
        predict(network, np.zeros((2, 28, 28, 1)))
    with torch.no_grad():
        network.backbone.fc.weight[0, 0] = float("nan")
    for call in (
        lambda: predict(network, tiny.images[:2]),
        lambda: saliency.explain(network, tiny.images[:2], methods=["gradcam"]),
        lambda: saliency.explain(network, tiny.images[:2], methods=["scorecam"]),
        lambda: drift.measure(drift.Explainer(network, ["gradcam"]), tiny[:2], [("contrast", 3)]),
    ):
        with pytest.raises(ValueError, match="NaN or infinite outputs; its weights are damaged"):
            call()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (torch.nn.Softmax(1), "probabilities, on which softmax would be taken again; give the logits"),
        (torch.nn.Linear(3, 1), "one logit; give two, one a class, as medrob.models.wrap"),
        (torch.nn.Flatten(0), r"\(6,\) for 2 images; give logits \(2, classes\) as one tensor"),
    ],
)
def test_what_a_network_gives_is_judged_alike_everywhere(head, message):
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3), head)
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    for call in (predict, functools.partial(saliency.explain, methods=["saliency"])):
        with pytest.raises(ValueError, match=f"Sequential gives {message}"):
            call(own, images)


def test_predict_conditions(network, tiny):
    todo = [CLEAN, ("gaussian_noise", 2), ("motion_blur", 5)]
    found = predict_conditions(network, tiny, todo, seed=1)
    columns = ["image", "corruption", "severity", "label", "predicted"]
    assert list(found) == columns + [f"p_{name}" for name in tiny.class_names]
    assert len(found) == 180 and list(found.groupby(["corruption", "severity"], sort=False).groups) == todo
    clean = found[found["corruption"] == "clean"]
    assert clean["image"].tolist() == list(range(60)) and clean["label"].tolist() == tiny.labels.tolist()
    assert clean.filter(regex="^p_").to_numpy() == pytest.approx(predict(network, tiny.images), abs=1e-6)
    assert (found["predicted"] == found.filter(regex="^p_").to_numpy().argmax(1)).all()
    for size in (7, 60):
        again = predict_conditions(network, tiny, todo, seed=1, batch_size=size)
        pd.testing.assert_frame_equal(found, again, rtol=0, atol=1e-5)
    other = predict_conditions(network, tiny, todo, seed=2)
    changed = (other["p_normal"] != found["p_normal"]).groupby(found["corruption"]).any()
    assert changed.to_dict() == {"clean": False, "gaussian_noise": True, "motion_blur": True}


def test_multilabel_from_end_to_end(tiny):
    labels = np.stack([tiny.labels == 1, tiny.labels == 2, tiny.labels > 0], 1).astype(int)
    dataset = ImageDataset(tiny.images, labels, ("nodule", "shadow", "ill"))
    model = models.build("resnet18", in_channels=1, num_classes=3, width=4, task="multilabel", seed=0).eval()
    found = predict_conditions(model, dataset, [CLEAN, ("contrast", 5)])
    columns = ["label_nodule", "label_shadow", "label_ill"]
    assert "label" not in found and list(found.filter(regex="^label_")) == columns
    p = found.filter(regex="^p_").to_numpy()
    assert (p > 0).all() and (p < 1).all() and np.ptp(p.sum(1)) > 0.01  # sigmoids: no sum of one
    scores = score(found, dataset.task, resamples=10).set_index(["corruption", "class", "metric"])["value"]
    auc = sk.roc_auc_score(labels, p[:60], average="macro")
    assert scores["clean", "all", "auc"] == pytest.approx(auc, abs=1e-5)
    assert evaluation.reliability(found)["images"].sum() == 2 * 60 * 3


def test_a_network_that_does_not_convert_its_input(blobs):
    """A plain convolution refuses uint8: it is given floats, as by `medrob.saliency.explain`."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2)
    ).eval()
    images = blobs(3).images
    with torch.no_grad():
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2).float()).softmax(1)
    np.testing.assert_allclose(predict(model, images), expected, atol=1e-6)
