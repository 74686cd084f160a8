"""The examples that need files on disk, on tiny ones. .ci/run runs the others."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_bcl.losses import ntxent_loss

EXAMPLES = Path(__file__).parents[1] / "examples"


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_comes_from_openml_without_files(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    datasets = importlib.import_module("datasets")
    rows = np.zeros((70000, 784))

    def fetch_openml(name, **kwargs):
        return rows, np.tile(np.arange(10), 7000).astype(str)

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "missing")
    data = datasets.load("fashion-mnist", None)
    assert data.X_train.shape == (60000, 28, 28)
    assert data.X_test.shape == (10000, 28, 28)
    assert data.X_train.dtype == np.uint8
    assert (data.y_test[:10] == np.arange(10)).all()
    with pytest.raises(SystemExit, match="No file train-images"):
        datasets.load("fashion-mnist", str(tmp_path))


@pytest.fixture
def tiny_images(tmp_path):
    """Files of small images that are the brighter, the higher their label."""
    rng = np.random.RandomState(0)
    for stem, n_images in (("train", 1200), ("t10k", 50)):
        labels = np.tile(np.arange(10), n_images // 10).astype(np.uint8)
        images = rng.randint(0, 20, size=(n_images, 8, 8)) + 10 * labels[:, None, None]
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", labels)
    return tmp_path


def test_paper_protocol_resumes(tiny_images, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    train = importlib.import_module("train")
    monkeypatch.setattr(train, "LABEL_DRAWS", 1)
    command = ["train.py", "--dataset", "fashion-mnist", "--data-dir", str(tmp_path)]
    command += ["--alpha-schedule", "auc", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "runs")])

    train.main()
    first = capsys.readouterr()
    (path,) = (tmp_path / "runs").glob("*/results.json")
    accuracy = json.loads(path.read_text())["accuracy"]
    assert accuracy["linear, all labels"][0] > 0.9
    assert set(accuracy) == {
        "linear, 100 labels",
        "linear, 1000 labels",
        "linear, all labels",
        "kNN, all labels",
    }
    # A finished run only prints; one whose results are missing goes on from its model.
    train.main()
    again = capsys.readouterr()
    assert "images of" not in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()[2:]
    path.unlink()
    monkeypatch.setattr(
        train, "evaluate", lambda embedder, data: {"x": [embedder.n_iter_]}
    )
    train.main()
    assert "1.0000" in capsys.readouterr().out


def test_probe_with_two_labels_of_a_class(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    train = importlib.import_module("train")
    y = np.arange(300) % 30
    Z = np.eye(30)[y]
    assert train.probe(Z, y, Z, y, 60, 0) == 1


def test_comparison_of_the_losses(monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    compare = importlib.import_module("compare")

    def results_of(arguments):
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        accuracy = 0.8 if options["--loss"] == "bcl" else 0.7
        return {"kNN": accuracy + 0.01 * int(options["--seed"])}

    monkeypatch.setattr(compare, "results_of", results_of)
    monkeypatch.setattr(sys, "argv", ["compare.py", "--seeds", "3", "--epochs", "1"])
    compare.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| dcl | 0.7100 ± 0.0100 |" in lines
    assert "| (dcl) − simclr, paired | 0.0000 ± 0.0000 |" in lines
    assert "| (bcl, beta 0.9) − simclr, paired | 0.1000 ± 0.0000 |" in lines


def test_oracle(tiny_images, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    oracle = importlib.import_module("oracle")
    monkeypatch.setattr(oracle, "results_of", lambda arguments: {"kNN": 0.0})

    def evaluate(embedder, data):
        # The labels of test images are nowhere to be seen.
        assert (data.X_test[:, 1] == 0).all()
        return {"kNN": [float(embedder.transform(data.X_test).std() > 0)]}

    monkeypatch.setattr(oracle.train, "evaluate", evaluate)
    command = ["oracle.py", "--seeds", "2", "--epochs", "2"]
    command += ["--data-dir", str(tiny_images), "--output", str(tiny_images / "runs")]
    monkeypatch.setattr(sys, "argv", command)
    oracle.main()
    assert "| oracle − simclr, paired | 1.0000 ± 0.0000 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--images", "100"])
    with pytest.raises(SystemExit, match="all images"):
        oracle.main()
    # Without false negatives in the batch it is NT-Xent.
    z = torch.nn.functional.normalize(torch.randn(12, 4), dim=1).chunk(2)
    oracle.BATCH["labels"] = torch.arange(6.0)
    assert torch.isclose(oracle.OracleLoss(0.5)(*z), ntxent_loss(*z, temperature=0.5))
    oracle.BATCH["labels"] = torch.zeros(6)
    oracle.BATCH["labels"][0] = 1
    assert oracle.OracleLoss(0.5)(*z).isfinite()
