"""The statistics and the losses of the study behind the defaults."""

import importlib
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss, debiased_loss, ntxent_loss

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("label_efficiency")


@pytest.fixture
def variants(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("variants")


@pytest.fixture
def rank_losses(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("rank_losses")


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


def ranked_loss(z, weigh, ranked=None):
    """NT-Xent by loops: weigh(anchor, order) gives weights of ascending samples."""
    n, losses = len(z) // 2, []
    ranked = z if ranked is None else ranked
    for i in range(2 * n):
        others = [j for j in range(2 * n) if j % n != i % n]
        order = sorted(others, key=lambda j: float(ranked[i] @ ranked[j]))
        weights = weigh(i, order)
        positive = torch.exp(z[i] @ z[(i + n) % (2 * n)] / 0.5)
        terms = [
            w * torch.exp(z[i] @ z[j] / 0.5)
            for w, j in zip(weights, order, strict=True)
        ]
        losses.append(torch.log(1 + sum(terms) / positive))
    return torch.stack(losses)


LABELS = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 2.0])


@pytest.fixture
def z():
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(12, 4, generator=generator), dim=1)


def test_oracle_of_ranks(rank_losses, z):
    rank_losses.oracle.BATCH["labels"] = LABELS
    labels, different = LABELS.repeat(2), []

    def note(i, order):
        different.append([labels[i] != labels[j] for j in order])
        return np.ones(10)

    ranked_loss(z, note)
    posterior = np.mean(different, axis=0)
    near = np.clip(np.arange(10)[:, None] + np.arange(-4, 5), 0, 9)
    posterior = posterior[near].mean(axis=1).clip(1e-3)
    expected = ranked_loss(z, lambda i, order: posterior / posterior.mean()).mean()
    loss = rank_losses.RankOracleLoss()(*z.chunk(2))
    assert torch.isclose(loss, expected, rtol=1e-4)
    # Without false negatives it is NT-Xent.
    rank_losses.oracle.BATCH["labels"] = torch.arange(6.0)
    ntxent = ntxent_loss(*z.chunk(2), temperature=0.5)
    assert torch.isclose(rank_losses.RankOracleLoss()(*z.chunk(2)), ntxent)


def test_loss_of_draws(rank_losses):
    z = torch.nn.functional.normalize(torch.randn(12, 4), dim=1).chunk(2)
    bcl = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)(*z)
    assert torch.isclose(rank_losses.DrawsLoss()(*z), bcl, rtol=1e-4)
    weights = rank_losses.DrawsLoss(m=3, alpha=0.97).weights(np.linspace(0, 1, 10_001))
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert (np.diff(weights) < 0).all()


def test_weights_at_mid_ranks(rank_losses, z):
    middles = (np.arange(1e4) + 0.5) / 1e4
    loss = rank_losses.DrawsLoss(mid_ranks=True)
    assert loss.weights(middles).mean() == pytest.approx(1, abs=1e-6)
    weights = importance_weights(
        (np.arange(10) + 0.5) / 10, alpha=0.9, beta=0.5, tau_plus=0.1
    )
    expected = ranked_loss(z, lambda i, order: weights).mean()
    assert torch.isclose(loss(*z.chunk(2)), expected, rtol=1e-4)


def test_ranks_by_rows(rank_losses, z):
    p = np.arange(1, 11) / 10
    weights = importance_weights(p, alpha=0.9, beta=0.5, tau_plus=0.1)
    z1, z2 = z.chunk(2)
    both = torch.nn.functional.normalize(z1 + z2, dim=1).repeat(2, 1)
    rows = rank_losses.DrawsLoss(rows=True)(z1, z2)
    by_views, by_rows = (
        ranked_loss(z, lambda i, order: weights, ranked).mean() for ranked in (z, both)
    )
    # Both views of a row are tied, so that either may come first.
    assert abs(rows - by_rows) < 0.3 * abs(rows - by_views)
    rank_losses.CLEAN["z"] = -both[:6]  # of equal norm: other ranks by other rows
    clean = rank_losses.DrawsLoss(rows="clean")(z1, z2)
    assert torch.isclose(clean, rows)
    rank_losses.CLEAN["z"] = torch.nn.functional.one_hot(torch.arange(6)).float()
    assert not torch.isclose(rank_losses.DrawsLoss(rows="clean")(z1, z2), rows)


def test_clean_rows_are_those_of_the_batch(rank_losses):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    seen = []

    class Last(rank_losses.CleanRows):
        def on_batch_begin(self, net, batch, training, **kwargs):
            super().on_batch_begin(net, batch, training, **kwargs)
            with torch.no_grad():
                own = net.module_(batch)
            seen.append((batch, rank_losses.CLEAN["z"], own))

    loss = rank_losses.DrawsLoss(rows="clean")
    BCLEmbedder(loss=loss, callbacks=[Last()], max_epochs=1, batch_size=40).fit(X)
    (batch, clean, own), *_ = seen
    assert sorted(batch[:, 0].tolist()) == sorted(X[:, 0].tolist())  # not corrupted
    assert torch.equal(clean, own)


def test_subtraction_of_the_positive(rank_losses, z):
    # Without weights by ranks, it is the debiased loss.
    dcl = debiased_loss(*z.chunk(2), temperature=0.5, tau_plus=0.1)
    loss = rank_losses.DrawsLoss(alpha=0.5, subtracted=1.0)
    assert torch.isclose(loss(*z.chunk(2)), dcl)
    # With them, of an anchor's mass (e^loss - 1) P, and not below the floor.
    weights = importance_weights(
        np.arange(1, 11) / 10, alpha=0.9, beta=0.5, tau_plus=0.3
    )
    for views in (z, torch.cat([z[:6], z[:6]])):
        positive = torch.exp((views[:6] * views[6:]).sum(dim=1).repeat(2) / 0.5)
        mass = (ranked_loss(views, lambda i, order: weights).exp() - 1) * positive
        left = (mass - 0.3 * 10 * positive) / 0.7
        floor = 10 * np.exp(-2)
        expected = torch.log1p(left.clamp(min=floor) / positive).mean()
        loss = rank_losses.DrawsLoss(subtracted=1.0, tau_plus=0.3)(*views.chunk(2))
        assert torch.isclose(loss, expected, rtol=1e-3)
    assert (left < floor).any()  # equal views reach it


def test_positives_that_are_trusted(rank_losses, z):
    z1, z2 = z.chunk(2)
    plain = rank_losses.DrawsLoss()
    assert torch.isclose(rank_losses.DrawsLoss(trusted=1.0)(z1, z2), plain(z1, z2))
    weights = plain.weights(np.arange(1, 11) / 10)
    trusts = []
    for i in range(12):
        positive = z[i] @ z[(i + 6) % 12]
        below = [j for j in range(12) if j % 6 != i % 6 and z[i] @ z[j] < positive]
        p_tn = true_negative_posterior(len(below) / 10, alpha=0.9, tau_plus=0.1)
        odds = (1 - p_tn) / 0.1 / (p_tn / 0.9)  # of the densities at this rank
        trusts.append(0.2 * odds / (0.2 * odds + 0.8))
    losses = ranked_loss(z, lambda i, order: weights).numpy()
    expected = np.average(losses, weights=trusts)
    loss = rank_losses.DrawsLoss(trusted=0.2)(z1, z2)
    assert float(loss) == pytest.approx(expected, rel=1e-3)


def test_priors_of_anchors(rank_losses, z):
    # Clusters of one row each and two rows: priors of 1/6 and 2/6.
    shares = rank_losses.SharesLoss(n_clusters=5).shares(*z.chunk(2))
    assert sorted(shares.tolist()) == pytest.approx([1 / 6] * 4 + [2 / 6] * 2)
    rank_losses.oracle.BATCH["labels"] = LABELS

    def weights_of(i, order):
        share = float((LABELS == LABELS[i % 6]).float().mean())
        p = np.arange(1, 11) / 10
        return importance_weights(p, alpha=0.9, beta=0.5, tau_plus=share)

    expected = ranked_loss(z, weights_of).mean()
    assert torch.isclose(rank_losses.SharesLoss()(*z.chunk(2)), expected, rtol=1e-4)


def test_oracle_of_the_nearest(rank_losses, z):
    rank_losses.oracle.BATCH["labels"] = LABELS
    every = rank_losses.oracle.OracleLoss(0.5)(*z.chunk(2))
    loss = rank_losses.NearOracleLoss(share=1.0)(*z.chunk(2))
    assert torch.isclose(loss, every)

    def weights_of(i, order):
        labels = LABELS.repeat(2)
        is_near = np.arange(10) >= 7
        kept = [
            not (near and labels[i] == labels[j])
            for near, j in zip(is_near, order, strict=True)
        ]
        return np.array(kept) / np.mean(kept)

    expected = ranked_loss(z, weights_of).mean()
    near = rank_losses.NearOracleLoss(share=0.3)(*z.chunk(2))
    assert torch.isclose(near, expected, rtol=1e-4)


def test_views_of_swaps_and_clusters(variants):
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.arange(400.0)[:, None], torch.arange(6.0) / 10
    x = rows + columns
    swapped = variants.RowSwap(rate=0.5)(x, generator)
    donors = (swapped - columns).round()
    assert torch.allclose(donors + columns, swapped)  # columns keep their values
    for own, of_row in enumerate(donors):
        assert len(set(of_row.tolist()) - {own}) <= 1  # of one other row
    assert 0.45 < (swapped != x).float().mean() < 0.55
    X = np.r_[np.zeros((50, 3)), np.full((50, 3), 9)]
    X += np.random.default_rng(0).normal(scale=0.1, size=X.shape)
    clusters = variants.KMeans(2, random_state=0).fit(X)
    view = variants.ClusterCorruption(clusters)(torch.from_numpy(X).float(), generator)
    assert ((view > 4).numpy() == (X > 4)).all()  # none from the other cluster
    assert 0.2 < (view.numpy() != X.astype(np.float32)).mean() < 0.4


def test_one_cycle_ends_with_the_epochs(variants):
    X = np.random.default_rng(0).normal(size=(40, 3))
    embedder = BCLEmbedder(callbacks=[variants.OneCycle()], max_epochs=10)
    rates = embedder.fit(X).net_.history[:, "event_lr"]
    assert max(rates) == pytest.approx(3e-3, rel=0.05)
    assert np.argmax(rates) in (2, 3)
    assert rates[-1] < 2e-4


def test_clipped_scale_is_that_of_the_encoder(variants):
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, size=(101, 4)) * [1, 100, 0.01, 1]
    X[:, 3] = rng.random(101) < 0.1  # its quartiles are equal
    X[:, 0] += 7
    embedder = BCLEmbedder(max_epochs=1).fit(X)
    with torch.no_grad():
        scaled = embedder.encoder_.scale(torch.from_numpy(X).float())
    own = variants.ClippedScale().fit(X).transform(X)
    assert np.allclose(own, scaled.numpy(), atol=1e-4)


def test_settings_in_a_name(study):
    method = study.make_method('bcl:beta=0.9;hidden_layer_sizes=[8];loss="dcl"', 3)
    assert method.get_params()["beta"] == 0.9
    assert method.hidden_layer_sizes == [8]
    assert (method.loss, method.random_state) == ("dcl", 3)
    assert study.make_method("simclr", 0).loss == "simclr"
    with pytest.raises(KeyError):
        study.make_method("unknown", 0)


def test_probe_chooses_c_where_it_can(study):
    assert study.probe(np.array([0, 0, 1, 1])).cv.n_splits == 2
    assert study.probe(np.repeat([0, 1], 20)).cv.n_splits == 5
    fixed = study.probe(np.array([0, 0, 1]))
    assert fixed.named_steps["logisticregression"].C == 0.1


def test_labels_are_drawn_of_every_class(study):
    y = np.repeat([0, 1, 2], [60, 30, 10])
    for draw in range(5):
        assert set(y[study.draw_labels(y, 20, draw)]) == {0, 1, 2}
    known = study.partly(y, 20, 0)
    assert (known != -1).sum() == 20
    assert (known[known != -1] == y[known != -1]).all()
    assert len(study.draw_labels(y, len(y), 0)) == len(y)


def test_runs_resume(study, tmp_path, monkeypatch):
    def two_classes(seed):
        rng = np.random.default_rng(seed)
        y = np.arange(100) % 2
        return rng.normal(size=(100, 3)) + 3 * y[:, None], y

    monkeypatch.setitem(study.HALVES, "tuning", {"classes": two_classes})
    monkeypatch.setitem(
        study.METHODS,
        "random forest",
        lambda seed: RandomForestClassifier(5, random_state=seed),
    )
    path = tmp_path / "results.csv"
    command = ["label_efficiency.py", "--seeds", "2", "--draws", "3", "--jobs", "1"]
    command += ["--labels", "20", "200", "all", "--output", str(path), "--methods"]

    def results_after(*methods):
        monkeypatch.setattr(sys, "argv", [*command, *methods])
        study.main()
        return study.read(path)

    raw = results_after("raw")
    # Of each split, three draws of 20 labels and one of all; there are no 200.
    assert raw.groupby(["seed", "labels"]).size().to_dict() == {
        (seed, labels): n
        for seed in (0, 1)
        for labels, n in {"20": 3, "all": 1}.items()
    }
    assert raw["accuracy"].min() > 0.9
    both = results_after("raw", "random forest")
    assert both.iloc[: len(raw)].equals(raw)
    assert (both["method"] == "random forest").sum() == len(raw)
    both[both["seed"] == 0].to_csv(path, index=False)  # as if it had been stopped
    again = results_after("raw", "random forest")
    assert not again.duplicated(["method", "seed", "labels", "draw"]).any()
    keys = ["method", "seed", "labels", "draw"]
    assert again.sort_values(keys, ignore_index=True).equals(
        both.sort_values(keys, ignore_index=True)
    )


def test_search_counts_data_sets(study, monkeypatch, capsys):
    search = importlib.import_module("search")
    gains = {
        "digits": (0.01, 0.03),
        "wine": (0.02, 0.02),
        "categories, 5": (0.05, 0.03),
    }
    rows = [
        (
            *(3, variant, data, seed, labels),
            len(data) / 50 + seed / 10 + gain * (variant == "average"),
            "v1",
        )
        for variant in (search.BASES[3][0], "average")
        for data, of_seeds in gains.items()
        for seed, gain in enumerate(of_seeds)
        for labels in search.LABELS
    ]
    results = pd.DataFrame(rows, columns=search.COLUMNS)
    search.report(results)
    # The means of data sets are 2, 2 and 4 points.
    cell = "+2.7 (-0.2 to +5.5)"
    assert f"| average | {cell} | {cell} | {cell} | 6 |" in capsys.readouterr().out
    # Without a split of the base, they are -3, -2 and -4.
    search.report(results[3:], base="average")
    output = capsys.readouterr().out
    cell = "-3.0 (-5.5 to -0.5)"
    assert f"| {search.BASES[3][0]} | {cell} | {cell} | {cell} | 5 |" in output
    search.report(results, base="no such")
    assert "Round 3: no results of no such" in capsys.readouterr().out


def test_every_variant_of_the_search_can_be_made(study):
    search = importlib.import_module("search")
    for variants in search.VARIANTS_OF.values():
        for variant in variants:
            assert hasattr(study.make_method(variant, 0), "fit")
