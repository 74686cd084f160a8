"""The statistics and the losses of the study behind the defaults."""

import importlib
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_bcl.losses import BCLLoss, ntxent_loss

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("label_efficiency")


@pytest.fixture
def variants(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("variants")


def results_of(labels, methods):
    """Accuracies that differ by data set and seed, and by a draw that all share."""
    lead = {"digits": 0.10, "wine": 0.20, "categories, 5": 0.30}
    rows = []
    for data, seed, draw, method in product(lead, range(2), range(2), methods):
        accuracy = 0.5 + 0.07 * draw
        if method == "raw":
            accuracy += lead[data] + 0.01 * seed
        if method == "UMAP" and data != "digits":  # where it ties with PCA
            accuracy -= 0.1
        rows.append(("tuning", data, method, seed, labels, draw, accuracy, "v1"))
    return rows


@pytest.fixture
def results(study):
    rows = results_of("20", ["raw", "PCA", "UMAP"]) + results_of("all", ["raw", "PCA"])
    return pd.DataFrame(rows, columns=study.COLUMNS)


def test_differences_are_paired_and_draws_count_as_one(study, results):
    few = results[results["labels"] == "20"]
    assert np.allclose(
        study.differences(few, "raw", "PCA").groupby(["data", "seed"]).agg(np.ptp), 0
    )
    table = study.table_of_differences(few, ["raw", "PCA"])
    # By hand: 10, 11, 20, 21, 30 and 31 points; 10.5, 20.5 and 30.5 of data sets.
    splits, data_sets = "+20.50 (+11.10 to +29.90)", "+20.50 (-4.34 to +45.34)"
    assert f"| PCA | {splits} | {data_sets} | 3 of 3 | none |" in table


def test_critical_difference_is_that_of_demsar(study):
    # Table 5 of Demsar (2006), Statistical Comparisons of Classifiers.
    for n_methods, quantile in {2: 1.960, 3: 2.343, 10: 3.164}.items():
        scale = np.sqrt(n_methods * (n_methods + 1) / (6 * 8))
        difference = study.critical_difference(n_methods, 8)
        assert difference == pytest.approx(quantile * scale, rel=1e-3)


def test_report_of_a_complete_file(study, results, tmp_path, monkeypatch, capsys):
    path = tmp_path / "results.csv"
    results.to_csv(path, index=False)
    command = ["label_efficiency.py", "--methods", "raw", "PCA", "UMAP"]
    command += ["--data", *results["data"].unique(), "--seeds", "2"]
    command += ["--output", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    study.main()
    few, whole, _ = capsys.readouterr().out.split("## tuning, ")[1:]
    assert "Average ranks: raw 1.00, PCA 2.17, UMAP 2.83" in few
    assert "Average ranks: raw 1.00, PCA 2.00" in whole  # UMAP has no such results
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]
    assert len(study.read(path)) == len(results)
    monkeypatch.setattr(
        sys, "argv", [*command, "--labels", "all", "--figures", str(tmp_path)]
    )
    study.main()
    output = capsys.readouterr().out
    assert "tuning, 20 labels" not in output
    assert "- v1: raw, PCA" in output
    assert (tmp_path / "ranks_tuning_all.png").exists()


def test_self_training_labels_rows(study):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100)
    X = rng.normal(size=(200, 2)) + 2 * y[:, None]
    known = np.where(np.arange(200) < 40, y, -1)
    model = study.SelfTraining().fit(X, known)
    assert (model.predict(X) == y).mean() > 0.88
    assert (model.model_.transduction_ != -1).sum() > 60  # more than are known


def test_oracle_of_ranks_by_loops(variants):
    z = torch.nn.functional.normalize(torch.randn(12, 4), dim=1)
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 2.0])
    variants.oracle.BATCH["labels"] = labels
    orders, different = [], []
    for i in range(12):
        others = [j for j in range(12) if j % 6 != i % 6]
        order = sorted(others, key=lambda j: float(z[i] @ z[j]))
        orders.append(order)
        different.append([labels[i % 6] != labels[j % 6] for j in order])
    posterior = np.mean(different, axis=0)
    near = np.clip(np.arange(10)[:, None] + np.arange(-4, 5), 0, 9)
    posterior = posterior[near].mean(axis=1).clip(1e-3)
    weights = posterior / posterior.mean()
    losses = []
    for i, order in enumerate(orders):
        positive = torch.exp(z[i] @ z[(i + 6) % 12] / 0.5)
        terms = [
            w * torch.exp(z[i] @ z[j] / 0.5)
            for w, j in zip(weights, order, strict=True)
        ]
        losses.append(torch.log(1 + sum(terms) / positive))
    loss = variants.RankOracleLoss()(z[:6], z[6:])
    assert torch.isclose(loss, torch.stack(losses).mean(), rtol=1e-4)
    # Without false negatives it is NT-Xent.
    variants.oracle.BATCH["labels"] = torch.arange(6.0)
    ntxent = ntxent_loss(z[:6], z[6:], temperature=0.5)
    assert torch.isclose(variants.RankOracleLoss()(z[:6], z[6:]), ntxent)


def test_loss_of_draws(variants):
    z = torch.nn.functional.normalize(torch.randn(12, 4), dim=1).chunk(2)
    bcl = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)(*z)
    assert torch.isclose(variants.DrawsLoss()(*z), bcl, rtol=1e-4)
    weights = variants.DrawsLoss(m=3, alpha=0.97).weights(np.linspace(0, 1, 10_001))
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert (np.diff(weights) < 0).all()
