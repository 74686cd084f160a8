"""The scripts of examples/paper, on tiny files. .ci/run runs the other examples."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_bcl.losses import NTXentLoss

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
    for stem, n_images in (("train", 500), ("t10k", 50)):
        labels = np.tile(np.arange(10), n_images // 10).astype(np.uint8)
        images = rng.randint(0, 20, size=(n_images, 8, 8)) + 10 * labels[:, None, None]
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", labels)
    return tmp_path


def test_paper_protocol_resumes(tiny_images, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    train = importlib.import_module("train")
    monkeypatch.setattr(train, "LABEL_DRAWS", 1)
    monkeypatch.setattr(train, "CV_FOLDS", 2)
    command = ["train.py", "--dataset", "fashion-mnist", "--data-dir", str(tmp_path)]
    command += ["--alpha-schedule", "auc", "--epochs", "1", "--encoder", "mlp"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "runs")])

    train.main()
    first = capsys.readouterr()
    (path,) = (tmp_path / "runs").glob("*/results.json")
    accuracy = json.loads(path.read_text())["accuracy"]
    assert accuracy["linear, all labels"][0] > 0.9
    # There are no 1,000 labels.
    measures = {"linear, 100 labels", "linear, all labels", "kNN, all labels"}
    assert set(accuracy) == measures
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


def test_embedders_get_the_parameters_that_act(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    train = importlib.import_module("train")

    def embedder(*options):
        return train.make_embedder(train.parse_arguments([*options]))

    priors = ["--tau-plus", "0.2", "--alpha", "0.8", "--beta", "0.7"]
    bcl = embedder("--temperature", "0.3", "--seed", "4", *priors)
    assert (bcl.tau_plus, bcl.alpha, bcl.beta) == (0.2, 0.8, 0.7)
    assert (bcl.loss, bcl.temperature, bcl.random_state) == ("bcl", 0.3, 4)
    default = type(bcl)()
    dcl = embedder("--loss", "dcl", *priors)
    assert (dcl.tau_plus, dcl.alpha, dcl.beta) == (0.2, default.alpha, default.beta)
    simclr = embedder("--loss", "simclr", "--alpha-schedule", "auc", *priors)
    assert (simclr.tau_plus, simclr.alpha) == (default.tau_plus, default.alpha)
    assert embedder("--alpha-schedule", "auc").alpha == "labels"


def test_alpha_rises_over_epochs(tiny_images, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    train = importlib.import_module("train")
    data = importlib.import_module("datasets").load("fashion-mnist", str(tiny_images))
    alphas = []
    monkeypatch.setattr(
        train, "save", lambda embedder, path: alphas.append(embedder.alpha)
    )
    options = ["--alpha-schedule", "linear", "--alpha", "0.9", "--epochs", "3"]
    arguments = train.parse_arguments([*options, "--encoder", "mlp"])
    train.train(arguments, data, tiny_images)
    assert alphas == pytest.approx([0.5, 0.7, 0.9])


def test_oracle(tiny_images, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    oracle = importlib.import_module("oracle")
    monkeypatch.setattr(oracle, "results_of", lambda arguments: {"kNN": 0.0})

    def evaluate(embedder, data):
        return {"kNN": [float(embedder.transform(data.X_test).std() > 0)]}

    monkeypatch.setattr(oracle.train, "evaluate", evaluate)
    command = ["oracle.py", "--seeds", "2", "--epochs", "1"]
    command += ["--data-dir", str(tiny_images), "--output", str(tiny_images / "runs")]
    monkeypatch.setattr(sys, "argv", command)
    oracle.main()
    assert "| oracle − simclr, paired | 1.0000 ± 0.0000 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--images", "100"])
    with pytest.raises(SystemExit, match="all images"):
        oracle.main()


def test_oracle_leaves_false_negatives_out(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "paper")
    oracle = importlib.import_module("oracle")
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1, 2])
    loss = oracle.OracleLoss(0.5)(*z.chunk(2), y)

    unit, labels, terms = z / z.norm(dim=1, keepdim=True), y.repeat(2), []
    for i in range(12):
        true = [j for j in range(12) if labels[j] != labels[i]]
        mass = sum(torch.exp(unit[i] @ unit[j] / 0.5) for j in true) * 10 / len(true)
        positive = torch.exp(unit[i] @ unit[(i + 6) % 12] / 0.5)
        terms.append(torch.log(1 + mass / positive))
    assert torch.isclose(loss, torch.stack(terms).mean())
    # Without false negatives in the batch it is NT-Xent.
    every = oracle.OracleLoss(0.5)(*z.chunk(2), torch.arange(6))
    assert torch.isclose(every, NTXentLoss(temperature=0.5)(*z.chunk(2)))
    # Anchors without a true negative do not count.
    assert oracle.OracleLoss(0.5)(*z.chunk(2), (y == 2).long()).isfinite()
