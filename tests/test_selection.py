import numpy as np
import pandas as pd
import pytest

from medrob.drift import select

# 12 images of three classes: 6, 4 and 2; images 0, 1, 6 and 10 are not recognised.
LABELS = np.array([0] * 6 + [1] * 4 + [2] * 2)
PREDICTED = LABELS.copy()
PREDICTED[[0, 1, 6, 10]] = [1, 2, 0, 1]
TABLE = pd.DataFrame(dict(image=range(12), corruption="clean", severity=0, label=LABELS, predicted=PREDICTED))
# Under corruption everything is mistaken for class 0: no selection may look at this.
TABLE = pd.concat([TABLE, TABLE.assign(corruption="fog", severity=5, predicted=0)])


def counts(chosen):
    return np.bincount(LABELS[chosen], minlength=3).tolist()


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
    with pytest.raises(ValueError, match="select='wrong': there is no such image among the 12 clean ones"):
        select(TABLE.assign(predicted=TABLE["label"]), how="wrong")


def test_select_is_seeded_and_reaches_every_image():
    draws, again = ([select(TABLE, images=2, seed=s).tolist() for s in range(40)] for _ in range(2))
    assert draws == again
    assert {i for draw in draws for i in draw} == {*range(12)}
    assert draws[0] != draws[1] or draws[0] != draws[2]


def test_select_of_multi_label_predictions():
    table = TABLE.drop(columns="label")
    assert np.bincount(PREDICTED[select(table, images=2)]).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="multi-label prediction is not right or wrong"):
        select(table, how="wrong")


def test_select_by_index():
    chosen = select(TABLE, images=[7, 2])
    assert chosen.tolist() == [2, 7] and chosen.dtype == np.int64 == select(TABLE).dtype
    with pytest.raises(ValueError, match=r"images=\[1, 12\]: give indices from 0 to 11"):
        select(TABLE, images=[1, 12])
