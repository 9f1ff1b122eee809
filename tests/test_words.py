"""The phrases, and the sentences of notebooks 01 to 04: data, training, scores, maps and their checks."""

from unittest.mock import MagicMock

import numpy as np
import pandas as pd

from medrob import words
from medrob.words import phrases

Chosen = type("Chosen", (), {"__len__": lambda self: 5, "counts": {"a_b": 3, "c": 2}})
GRADCAM = dict(method="gradcam", layer="layer4.1")


def test_a_number_has_its_interval_and_its_p():
    for values, options, expected in (
        ((0.88, 0.74, 0.96, 0.008, "Holm"), {}, "+0.88 (+0.74 to +0.96, Holm p = .008)"),
        ((0.88, 0.74, 0.96, 0.0002, ""), {}, "+0.88 (+0.74 to +0.96, uncorrected p < .001)"),
        ((0.5, 0.4, 0.6, np.nan, ""), dict(form=".1f"), "0.5 (0.4 to 0.6)"),
        ((-0.5, np.nan, np.nan, np.nan, ""), dict(form=".1f"), "-0.5"),
        ((-0.0, -0.001, 0.2, np.nan, ""), {}, "+0.00 (-0.00 to +0.20)"),
        ((-0.1, -0.2, -0.001, np.nan, ""), {}, "-0.10 (-0.20 to -0.00)"),  # the sign of what is rounded
        ((np.nan, 0.0, 1.0, 0.01, ""), {}, "not defined"),
    ):
        value, low, high, p, correction = values
        row = dict(value=value, low=low, high=high, p=np.nan, p_adjusted=p, correction=correction)
        assert phrases.number(row, **options) == expected
        gain = row | dict(gain=value, gain_low=low, gain_high=high, value=7)
        assert phrases.number(gain, "gain", **options) == expected


def test_counts_names_lists_and_sides_of_chance():
    ends = {
        (0.1, 0.2): "above",
        (-0.2, -0.1): "below",
        (-0.1, 0.1): "neither",
        (np.nan, 0.1): phrases.NOT_JUDGED,
    }
    for (low, high), expected in ends.items():
        row = dict(value=0, low=low, high=high, p=0.9)
        assert phrases.side(row, "value", "above", "below", "neither") == expected
    assert [phrases.count(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert [phrases.listed(names) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert phrases.name("a_b*c [d] $e$ `f`") == r"a\_b\*c \[d\] \$e\$ \`f\`"
    assert phrases.shown("set_1/shot_noise") == "shot noise"
    assert phrases.grouped([("x", "a"), ("y", "b"), ("x", "c")], " by ") == "x by a, c; y by b"
    assert set(phrases.SENTENCES) - {"check", "link"} <= set(dir(words))
    assert phrases.text("One.", "", "Two.", ["a", "b"], "Three.") == "One.\nTwo.\n\n- a\n- b\n\nThree."


def test_data_sets_network_and_predictions():
    rows = pd.DataFrame(dict(image=[0, 1] * 3, corruption="fog", severity=[0, 0, 1, 1, 2, 2]))
    sets = [MagicMock(split=split, images=np.zeros((3, 28, 28, 1)), task="binary") for split in ("a", "b")]
    for part, n in zip(sets, (2000, 3), strict=True):
        part.name, part.class_names, part.__len__.return_value = "my_set", ["c_1", "c2"], n
    assert words.data_sets(*sets).split("\n") == [
        r"my\_set has 2,000 a and 3 b images, grey, of 28 x 28 pixels.",
        r"Each image belongs to one of these classes: c\_1 and c2.",
    ]
    weights = [MagicMock(**{"numel.return_value": 1200})] * 2
    model = MagicMock(origin="random weights", **{"parameters.return_value": weights, "normalise.mean": 0.5})
    said = words.network("resnet18", model)
    assert "resnet18 has 2,400 parameters and random weights. Grey levels are normalised with the" in said
    assert words.predictions(rows).startswith("There are 6 predictions, of 2 images under 3 conditions (")
    shapes = pd.DataFrame(dict(height=[9, 7], width=[9, 8]), ["a", "b_1"])
    fine = words.network("resnet18", model, shapes).split("\n")[0]
    assert fine.endswith(r"layers, b\_1, sees the picture as 7 x 8 positions.")
    assert words.network("resnet18", model, shapes[:0]) == said
    table = pd.DataFrame(dict(a=[0.6, 0.1], b_1=[0.4, 0.9]), ["clean 0", "shot_noise 5"])
    first, last = "60\u00a0% sure of a (clean 0)", "90\u00a0% sure of b\\_1 (shot noise 5)"
    assert words.probabilities(table[:1]) == f"For this picture, the network is {first}."
    assert words.probabilities(table).endswith(f"is {first} at first, and {last} at the end.")


def test_the_corruption_that_changes_most():
    means = dict(rmse=[("a_b", 4, 9.0), ("a_b", 5, 9.6), ("c", 4, 90.0), ("c", 5, 3.0)])
    means["ssim"] = [("a_b", 4, 0.9), ("a_b", 5, 0.5), ("c", 4, 0.0), ("c", 5, 0.1)]
    columns = ["corruption", "severity", "value"]
    spread = pd.concat([pd.DataFrame(rows, columns=columns).assign(metric=m) for m, rows in means.items()])
    spread = spread.assign(low=spread["value"] - 0.1, high=spread["value"] + 1)
    pixels, structure, steps = words.distances(spread).split("\n")
    assert "5, a b changes the pictures most: a pixel moves by 10 of 255 grey levels (between 10" in pixels
    assert "structure is left under c: " in structure and "is 0.10 (between 0.00 and 1.10 in 90" in structure
    assert "under c, at least one does not" in steps
    assert words.distances(spread[spread["corruption"] != "c"]).endswith("moves the pictures further.")
    said = words.example({("clean", 0): 0.0, ("a_b", 1): 2.0, ("a_b", 5): 9.6, ("c", 5): 3.0}, "a_b")
    assert "under a b grows from 2 grey levels at severity 1 to 10 at severity 5." in said


def test_the_kept_epoch_and_what_training_cost():
    val = pd.DataFrame(dict(epoch=[1, 2], split="val", loss=[0.5, 0.4], auc=[0.8, 0.9], accuracy=0.7))
    history = pd.concat([val, val.assign(split="train", loss=0.1)])
    history = history.assign(images_per_second=50.0, seconds=4.0, memory_mb=[10, 20, 30, 40], gpu_memory_mb=0)
    for best, expected in ((2, "It is the last epoch"), (1, "Later epochs did not do better")):
        said = words.training(history, best)
        assert f"Epoch {best} of 2 is kept: its validation AUC is {0.7 + best / 10:.3f}" in said
        assert expected in said and "it is 0.400, and at its lowest 0.400" in said
    said = words.speed(history)
    assert "took 16 s, with 50 training images per second" in said and said.endswith("was 40 MB.")
    assert words.speed(history.assign(gpu_memory_mb=7)).endswith("On the GPU it was 7 MB.")
    for auc, doubt in ((0.9, False), (0.55, True)):  # a network that came trained
        check = history[history["split"] == "val"].tail(1).assign(epoch=0, auc=auc)
        said = words.training(check, 0, ["a_b", "c"])
        assert f"of classes: a\\_b and c. On the validation images its AUC is {auc:.3f}" in said
        assert "It is judged as it came" in said and ("hardly better than guessing" in said) == doubt
    assert words.speed(check) == "Nothing was trained here; the check on the validation images took 4 s."
    splits = {s: {"images": 9, "shape": (4, 4, 1), "counts": {"a": 9}} for s in ("train", "val", "test")}
    for weights, told in (("w.pt", "w.pt"), ("", "of its own")):
        train = {"arch": "mine:net", "weights": weights, "epochs": 0}
        said = words.done({"01_augment": {"dataset": "data"}, "02_train": train}, splits)
        assert said.endswith(f"The network, mine:net with weights {told}, was judged as it came.")


def scored(clean=(0.9, 0.85, 0.95)):
    """AUC and ECE, clean and under three corruptions, that lower, hardly change and raise them."""
    drops = [(0, 0, 0), (0.3, 0.2, 0.4), (0.01, -0.02, 0.03), (-0.1, -0.2, -0.05)]
    frame = pd.DataFrame(drops, columns=["drop", "drop_low", "drop_high"]).assign(low=0.0, high=1.0)
    frame = frame.assign(corruption=["clean", "c_0", "c_1", "c_2"], severity=[0, 5, 5, 5])
    frame["value"] = clean[0] - frame["drop"]
    frame.loc[0, ["low", "high"]] = clean[1:]
    metrics = ("auc", "accuracy", "ece")
    return pd.concat([frame.assign(metric=metric) for metric in metrics]).assign(**{"class": "all"})


def means(**rows):
    """{metric: (value, low, high)} -> the means of the table of errors."""
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return frame.rename_axis("metric").reset_index().assign(corruption="mean")


def test_the_alarm_names_its_class_and_the_others():
    rows = [(c, s, k, m, v) for k in "abc" for m, v in (("sensitivity", 0.8), ("specificity", 0.9))
            for c, s, v in (("clean", 0, v), ("fog", 3, v - 0.5), ("shot_noise", 5, v - 0.2))]  # fmt: skip
    points = pd.DataFrame(rows, columns=["corruption", "severity", "class", "metric", "value"])
    points = points.assign(low=points["value"] - 0.1, high=points["value"] + 0.1)
    said = words.operating_point(points, "b", {"b": 0.25})
    assert "against all other pictures. It is raised where the probability of b is at least 0.25" in said
    assert "lowest under fog at severity 3: 0.30 (0.20 to 0.40). Specificity is" in said
    assert "no operating point for d" in words.operating_point(points, "d", {})
    one_rate = points[points["metric"] == "specificity"]
    assert "no test image has this class" in words.operating_point(one_rate, "b", {"b": 0.25})


def test_what_the_scores_say():
    said = words.scores(scored())
    assert "in 90\u00a0% (85\u00a0% to 95\u00a0%) of the pairs. This is the AUC: 0.900 (0.850 to 0" in said
    assert "The AUC drops most under c 0 at severity 5, by 0.300 (0.200 to 0.400)." in said
    assert "lower under 1 of 3 conditions (a corruption at a severity) and higher under 1, by more" in said
    said = words.right(scored(), "9 images")
    assert "On 9 images, on which no weight was trained here, the network is right in 90" in said
    both = pd.concat([scored(), scored().assign(**{"class": "a_b"})])
    assert words.accuracy(both).startswith("The accuracy is lowest under c 0 at severity 5: 60\u00a0% (0")
    assert words.accuracy(both).endswith("it is then 60\u00a0% (0\u00a0% to 100\u00a0%) for a\\_b.")
    assert "no better than chance has nothing to lose" in words.scores(scored(clean=(0.55, 0.45, 0.65)))
    assert "The AUC does not drop under any" in words.scores(scored().assign(drop=-0.1))
    assert "not defined" in words.scores(scored(clean=(np.nan,) * 3))
    said = words.calibration(scored())
    assert "At severity 5 it is 0.830, as a mean over 3 corruptions; under 1 of them it is higher" in said


def test_without_intervals_the_values_are_said_and_nothing_is_claimed():
    bare = scored().assign(**dict.fromkeys(("low", "high", "drop_low", "drop_high"), np.nan))
    errors = means(BE=(0.75, np.nan, np.nan), excess=(0.1, np.nan, np.nan))
    said = [words.scores(bare), words.errors(errors, size=28, suite="thesis")]
    assert "AUC: 0.900, where" in said[0] and "under c 0 at severity 5, by 0.300.\n" in said[0]
    assert "BE is 0.750." in said[1]
    for sentence in said:
        assert "nan" not in sentence and ("There are no intervals" in sentence or "BE" in sentence)
        assert not any(claim in sentence for claim in ("lower", "under 0", "not shown", "better"))


def test_errors_beside_alexnets_which_are_one():
    alone, how = means(excess=(0.1, 0.05, 0.2)), dict(size=224, suite="medmnist-c:pneumoniamnist")
    errors = pd.concat([alone, means(BE=(1.0, 0.5, 0.9))])
    excess, be = words.errors(errors, **how).split("\n")[2:]
    assert excess == "- The excess is 0.100 (0.050 to 0.200)." and be == "- The BE is 1.000 (0.500 to 0.900)."
    for other in (how | dict(size=28), how | dict(suite="thesis")):
        said = words.errors(errors, **other)
        assert "cannot be compared with AlexNet" in said
        assert "uses {size} px and the suite {suite}".format(**other) in said
    assert "cannot be compared" not in words.errors(alone, size=28, suite="thesis")
    assert "several labels" in words.errors(alone[:0], **how)


def moves(**drifts):
    """{method: drift of each image} -> the rows of drift, under fog at severity 5."""
    parts = [pd.DataFrame(dict(image=range(len(x)), method=m, rmse=x)) for m, x in drifts.items()]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.assign(corruption="fog_bank", severity=5, layer="x", label=0, preserved=frame["image"] > 2)
    return frame.assign(degenerate=frame["rmse"].isna())


def test_what_is_explained_and_how_far_it_moves():
    assert words.chosen(Chosen(), "random") == r"5 images are explained (random): 3 of a\_b and 2 of c."
    seen = dict(image=7, corruption=["clean", "fog", "shot_noise"], severity=[0, 3, 3], predicted=[1, 1, 0])
    seen, conditions = pd.DataFrame(seen), [("clean", 0), ("fog", 3), ("shot_noise", 3)]
    said = words.explained(7, "a", "gradcam", conditions, seen)
    assert said.startswith("Image 7: the maps explain a, by Grad-CAM.\nUnder shot noise 3, another class")
    assert "same class" in words.explained(7, "a", "gradcam", [("fog", 3)], seen)
    said = words.drift(moves(a=[np.nan, 1, 1, 1, np.nan], b=[1.0] * 5))
    assert said == (
        "There are 10 comparisons of a corrupted with a clean map, for 5 images. The prediction is kept in "
        "40.0\u00a0% of them. In 20.0\u00a0% a map is degenerate.\nMost are degenerate for a at x under fog "
        "bank at severity 5: 40\u00a0%.\nOf the degenerate maps, 50\u00a0% belong to flipped predictions. "
        "The means of drift leave all of them out."
    )
    assert words.drift(moves(a=[1.0, 2])).endswith("In 0.0\u00a0% a map is degenerate.")
    means = moves(a=[0.2, np.nan, 0.1], b=[np.nan, 0.3, 0.3]).rename(columns={"rmse": "value"})
    means = means.assign(low=means["value"] - 0.1, high=means["value"] + 0.1)
    said = words.moved_most(means)
    assert "the map of b at x moves most under fog bank, with a normalised drift of 0.30 (0.20 to" in said
    assert "and least under fog bank, with 0.10 (" in said and words.moved_most(means[1:2]) == ""
    assert "most for k under fog bank" in words.moved_most(means.assign(of="k"))
    x = np.linspace(0, 1, 8)
    said = words.twins(moves(a=x, b=x, c=x**2, d=1 - x))
    assert said == "At x, a and b give the same map, so they are one piece of evidence."
    assert "each one is evidence of its own" in words.twins(moves(c=x**2, d=1 - x))


def test_how_far_a_map_has_gone_to_that_of_another_picture():
    rows = pd.DataFrame(dict(stratum=["all", "flipped", "preserved"], value=[0.9, 1.3, np.nan]))
    rows = rows.assign(low=rows["value"] - 0.1, high=rows["value"] + 0.1, severity=5, **GRADCAM)
    rows["degenerate"] = 0.2
    said = words.normalised(rows, **GRADCAM).replace("\u00a0", " ")
    assert "(severity 5), the map of where the network looks is 90 % (80 % to 100 %) as far" in said
    assert "picture is (Grad-CAM at layer4.1). Where the prediction changes it is 130 % (120 %" in said
    assert said.endswith("In 20.0 % of the comparisons a map is empty or flat; these are left out.")
    assert words.normalised(rows.assign(value=np.nan), **GRADCAM).startswith("Grad-CAM at layer4.1: no map")
    limits = pd.DataFrame(dict(test=["floor", "ceiling-image", "ceiling-weights"], value=[0, 0.25, 0.5]))
    said = words.scale(limits.assign(low=np.nan, high=np.nan, **GRADCAM), **GRADCAM)
    assert "RMSE of 0.000, another picture 0.250, and a network with random weights 0.500." in said


def test_which_maps_fail_randomisation():
    limits = dict(a=(0.6, 0.8, 9), b=(-0.2, 0.5, 9), c=(0.4, 0.7, 9), d=(np.nan, np.nan, 0), e=(0.6, 0.9, 3))
    same = dict(test="randomisation", stage="all")
    rows = [
        dict(method=m, layer=layer, images=n, value=low, low=low, high=high, **same)
        for m, (low, high, n) in limits.items()
        for layer in ("layer1.0", "layer4.1")
    ]
    twin = [dict(row, method="twin") for row in rows[2:4]]  # the map of b again: it does not count
    head = dict(rows[0], stage="fc", value=0.8)
    said = words.randomisation(pd.DataFrame([head, *rows, *twin]), 9, "layer1.0")
    assert said.startswith(
        "The check looks at 12 maps, one for each method and layer, on 9 images.\n2 of them are the same as "
        "another one and are not counted again.\n\n- 2 of 10 maps fail the randomisation"
    )
    assert "part of the network (fc) is random, the maps of a at layer1.0 are the most alike" in said
    for method, verdict in dict(a="fail ", c="is unclear", d="cannot be tested", e="rest on").items():
        line = next(line for line in said.split("\n") if verdict in line)
        assert "2 of 10 maps" in line and line.endswith(f"({method} at layer1.0, layer4.1).")
    assert "2 of 10 maps pass the check: they change when all weights are" in said and "twin" not in said


def test_faithful_is_better_than_a_random_map_image_by_image():
    rows = [
        ("a", "insertion", 0.2, 0.1, 0.3, 7), ("b", "insertion", 0.1, -0.1, 0.3, 7),
        ("a", "deletion", 0.2, 0.1, 0.3, 7), ("b", "deletion", -0.2, -0.3, -0.1, 7),
        ("a", "road", np.nan, np.nan, np.nan, 0), ("b", "road", 0.1, np.nan, np.nan, 4),
        ("b", "floor", 1, 1, 1, 7),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["method", "test", "above", "above_low", "above_high", "images"])
    said = words.faithfulness(frame.assign(layer="layer4.1", value=0.3, low=0.2, high=0.4, chance=0.1))
    assert said.split("\n")[2:] == [
        "- Insertion is better for a +0.200 (+0.100 to +0.300); not shown to differ for b +0.100 (-0.100 to "
        "+0.300).",
        "- Deletion is worse for a -0.200 (-0.300 to -0.100); better for b +0.200 (+0.100 to +0.300).",
        "- ROAD is not judged (fewer than 5 images or groups) for a, b.",
    ]


def places(clean, **dirty):
    """A test (low, value) for clean, and its change at severity 5 under corruptions; chance .1; 12 images."""
    rows = [("clean", 0, *clean), *((name, 5, *limits) for name, limits in dirty.items())]
    frame = pd.DataFrame(rows, columns=["corruption", "severity", "low", "value"])
    frame = frame.assign(test="energy", high=frame["value"] + 0.1, degenerate=0, images=12, **GRADCAM)
    frame["stage"] = np.where(frame["severity"] == 0, "", "change")
    above = {"above": frame["value"], "above_low": frame["low"], "above_high": frame["high"]}
    return frame.assign(chance=0.1, **{k: v - 0.1 for k, v in above.items()})


def say(frame):
    return words.localisation(frame, **GRADCAM)


def test_where_the_map_lies_against_chance_and_against_the_same_images_clean():
    rows = places((0.4, 0.5), fog=(-0.3, -0.2), snow=(-0.1, 0.0), rain=(0, 0.1), haze=(np.nan, np.nan))
    rows.loc[rows["corruption"] == "rain", ["low", "high"]] = np.nan
    attainable = rows[:1].assign(stage="attainable", value=0.75)
    shares = dict(energy=0.75, pointing=1, iou=0.9).items()
    best = pd.concat([attainable.assign(test=test, value=share) for test, share in shares])
    of_classes = [rows[:1].assign(stage=f"class {name}", test="pointing") for name in ("a_b", "c")]
    assert say(pd.concat([rows, best, *of_classes])).replace("\u00a0", " ").split("\n") == [
        "These numbers are of 12 images with a lesion and a map of Grad-CAM at layer4.1 (0 more have none):",
        "",
        "- On clean images, 50 % (40 % to 60 %) of the map lies inside the lesion: image by image, this is "
        "more than by chance (10 %).",
        "- With so few positions, the best possible map would have 75 % of its energy inside the lesion, its "
        "highest point there in 100 % of the images, and an overlap of 90 %.",
        "- By class, the highest point on clean images lies inside the lesion in 50 % (40 % to 60 %) of "
        r"a\_b (12 images, chance: 10 %) and 50 % (40 % to 60 %) of c (12 images, chance: 10 %).",
        "- At severity 5, compared with the same images when clean, the share of the map inside the lesion "
        "is lower under fog -0.200 (-0.300 to -0.100); not shown to differ under snow +0.000 (-0.100 to "
        "+0.100); not judged (fewer than 5 images or groups) under rain, haze.",
    ]  # fmt: skip
    assert "can be compared" in say(places((np.nan, np.nan)))
    assert "nothing can be said about localisation" in say(rows[:0])
    # All of the interval lies above the mean of chance, but not image by image; and the other way round.
    cases = (0.3, 0.4, -0.01, "not shown to be more than"), (0.05, 0.15, 0.01, "more than")
    for low, value, above_low, expected in cases:
        said = say(places((low, value)).assign(above_low=above_low, above_high=0.5, degenerate=3))
        assert f"this is {expected} by chance" in said and "12 images" in said and "(3 more have no" in said
