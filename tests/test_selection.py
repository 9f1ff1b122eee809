import numpy as np
import pandas as pd
import pytest

from medrob.drift import select

# 12 images of three classes: 6, 4 and 2; images 0, 1, 6 and 10 are not recognised.
LABELS = np.array([0] * 6 + [1] * 4 + [2] * 2)
PREDICTED = LABELS.copy()
PREDICTED[[0, 1, 6, 10]] = [1, 2, 0, 1]
TABLE = pd.concat(
    [
        pd.DataFrame(
            dict(image=range(12), corruption="clean", severity=0, label=LABELS, predicted=PREDICTED)
        ),
        # Under corruption everything is mistaken for class 0: no selection may look at this.
        pd.DataFrame(dict(image=range(12), corruption="fog", severity=5, label=LABELS, predicted=0)),
    ]
)


def counts(chosen):
    return np.bincount(LABELS[chosen], minlength=3).tolist()


@pytest.mark.parametrize("how", ["all", "random"])
def test_select_all(how):
    chosen = select(TABLE, how=how)
    assert chosen.tolist() == [*range(12)] and chosen.dtype == np.int64


@pytest.mark.parametrize(("images", "expected"), [(1, [1, 1, 1]), (3, [3, 3, 2]), (5, [5, 4, 2])])
def test_select_as_many_of_each_class_as_there_are(images, expected):
    for seed in range(5):
        chosen = select(TABLE, images=images, seed=seed)
        assert counts(chosen) == expected and (np.diff(chosen) > 0).all()


def test_select_correct_and_wrong():
    assert select(TABLE, how="correct").tolist() == [2, 3, 4, 5, 7, 8, 9, 11]
    assert select(TABLE, how="wrong").tolist() == [0, 1, 6, 10]
    for seed in range(5):
        assert counts(select(TABLE, how="correct", images=2, seed=seed)) == [2, 2, 1]
        assert counts(select(TABLE, how="wrong", images=1, seed=seed)) == [1, 1, 1]


def test_select_is_seeded_and_reaches_every_image():
    draws = [select(TABLE, images=2, seed=seed).tolist() for seed in range(40)]
    assert draws == [select(TABLE, images=2, seed=seed).tolist() for seed in range(40)]
    assert {i for draw in draws for i in draw} == {*range(12)}
    assert draws[0] != draws[1] or draws[0] != draws[2]


@pytest.mark.parametrize("images", [[7, 2, 7], np.array([2, 7]), (2, 7), pd.Series([2, 7])])
def test_select_by_index(images):
    assert select(TABLE, images=images).tolist() == [2, 7]


def test_select_of_multi_label_predictions():
    table = TABLE.drop(columns="label")
    assert np.bincount(PREDICTED[select(table, images=2)]).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="multi-label prediction is not right or wrong"):
        select(table, how="wrong")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (dict(how="best"), "select='best'.*select is one of all, random, correct, wrong"),
        (dict(how="best", images=[1]), "select='best'"),
        (dict(images=-1), "images=-1"),
        (dict(images=2.5), "images=2.5"),
        (dict(images="all"), "images='all'"),
        (dict(images=[]), r"images=\[\]: give indices from 0 to 11"),
        (dict(images=[1, 12]), r"images=\[1, 12\]: give indices from 0 to 11"),
        (dict(images=[0.5]), "give indices"),
    ],
)
def test_select_names_what_is_wrong(arguments, match):
    with pytest.raises(ValueError, match=match):
        select(TABLE, **arguments)


def test_select_wrong_where_nothing_is():
    right = TABLE.assign(predicted=TABLE["label"])
    with pytest.raises(ValueError, match="select='wrong': there is no such image among the 12 clean ones"):
        select(right, how="wrong")
