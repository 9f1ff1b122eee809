"""Corrupted test sets as files."""

import numpy as np
import pytest

from medrob.corruptions import corrupt, export, names, test_sets


def images(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 28, 30, channels), dtype=np.uint8)


def test_files_have_the_layout_of_medmnist(tmp_path):
    labels = np.arange(6)
    paths = export(images(), labels, tmp_path, ("contrast", "pneumoniamnist/pixelate"), seed=3)
    assert paths == (tmp_path / "contrast.npz", tmp_path / "pneumoniamnist" / "pixelate.npz")
    for path, name in zip(paths, ("contrast", "pneumoniamnist/pixelate"), strict=True):
        with np.load(path, allow_pickle=False) as archive:
            assert sorted(archive) == ["test_images", "test_labels"]
            assert archive["test_images"].shape == (30, 28, 30)
            np.testing.assert_array_equal(archive["test_labels"], np.tile(labels[:, None], (5, 1)))
            for severity in range(1, 6):
                part = archive["test_images"][6 * (severity - 1) : 6 * severity]
                np.testing.assert_array_equal(part, corrupt(images(), name, severity, seed=3)[..., 0])
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_batches_do_not_show(tmp_path, monkeypatch):
    export(images(3), np.zeros((6, 2)), tmp_path / "whole", names("thesis"))
    monkeypatch.setattr(test_sets, "_BATCH", 2 * images(3)[:1].size)
    for path in export(images(3), np.zeros((6, 2)), tmp_path / "parts", names("thesis")):
        assert path.read_bytes()[:100] == (tmp_path / "whole" / path.name).read_bytes()[:100]
        with np.load(path) as parts, np.load(tmp_path / "whole" / path.name) as whole:
            assert parts["test_images"].shape == (30, 28, 30, 3)
            np.testing.assert_array_equal(parts["test_images"], whole["test_images"])
            assert whole["test_labels"].shape == (30, 2)


def test_a_full_disk_is_noticed_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(test_sets.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match="MB are needed"):
        export(images(), np.zeros(6), tmp_path, names("thesis"))
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    (path,) = export(images(), np.zeros(6), tmp_path, ["contrast"])
    before = path.read_bytes()

    def fail(*_, **__):
        raise RuntimeError("stop")

    monkeypatch.setattr(test_sets, "corrupt", fail)
    with pytest.raises(RuntimeError, match="stop"):
        export(images(), np.zeros(6), tmp_path, ["contrast"])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_export_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"labels have shape \(5,\), images \(6, 28, 30, 1\)"):
        export(images(), np.zeros(5), tmp_path, names("thesis"))
    with pytest.raises(TypeError, match="labels has dtype object"):
        export(images(), np.array([None] * 6), tmp_path, names("thesis"))
    with pytest.raises(TypeError, match="must be a list"):
        export(images(), np.zeros(6), tmp_path, "thesis")
    with pytest.raises(ValueError, match=r"saturate.*RGB"):
        export(images(), np.zeros(6), tmp_path, ["saturate"])
    with pytest.raises(ValueError, match="unknown corruption"):
        export(images(), np.zeros(6), tmp_path, ["nothing"])
    assert not list(tmp_path.iterdir())


def test_nothing_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="one row for each image"):
        export(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0), tmp_path, ["contrast"])
