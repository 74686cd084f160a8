"""The scripts of examples/benchmarks: what they run, keep and report."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("label_efficiency")


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("report")


@pytest.fixture
def two_tables(study, monkeypatch):
    """The study with two small tables and quick methods in place of its own."""

    def classes(seed):
        rng = np.random.default_rng(seed)
        y = np.arange(100) % 2
        return rng.normal(size=(100, 3)) + 3 * y[:, None], y

    tables = {"classes": classes, "again": lambda seed: classes(seed + 10)}
    monkeypatch.setattr(study, "CS", (0.1,))
    for half in study.HALVES:
        monkeypatch.setitem(study.HALVES, half, {})
    monkeypatch.setitem(study.HALVES, "real", tables)
    quick = {
        "raw": lambda seed: StandardScaler(),
        "random forest": lambda seed: RandomForestClassifier(5, random_state=seed),
    }
    for name, make in quick.items():
        monkeypatch.setitem(study.METHODS, name, make)


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def summary_of(accuracies):
    """Return a summary from {(table, labels): {method: mean accuracy}}."""
    rows = [
        ("real", data, method, labels, mean, 0.01, 3, 30)
        for (data, labels), of_methods in accuracies.items()
        for method, mean in of_methods.items()
    ]
    columns = ["half", "data", "method", "labels", "mean", "sd", "n_splits", "n"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def summary():
    return summary_of(
        {
            ("digits", "50"): {"bcl": 0.9, "raw": 0.8, "PCA": 0.79},
            ("wine", "50"): {"bcl": 0.9, "raw": 0.7, "PCA": 0.5},
            ("iris", "50"): {"bcl": 0.6, "raw": 0.3, "PCA": 0.9},
            ("digits", "200"): {"bcl": 0.96, "raw": 0.8, "PCA": 0.8},
            ("wine", "200"): {"bcl": 0.9, "raw": 0.88},  # without PCA
        }
    )


def test_differences_by_hand(report, summary):
    table = report.table_of_differences(summary, ["bcl", "raw", "PCA"])
    _, _, raw, _ = table.splitlines()
    # 10, 20 and 30 points: the mean 20, and 4.303 standard errors of 10 / sqrt(3).
    at_50 = "+20.00 (−4.84 to +44.84)"
    # 16 and 2 points, whose interval has 1 degree of freedom.
    at_200 = "+9.00 (−79.94 to +97.94)"
    # Means over numbers of labels first: 13, 11 and 30 points.
    few = "+18.00 (−7.94 to +43.94)"
    assert raw == f"| raw | – | {at_50} | {at_200} | – | {few} |"


def test_wins_and_losses_by_hand(report, summary):
    _, _, raw, pca = report.record(summary, ["bcl", "raw", "PCA"]).splitlines()
    assert raw == "| raw | 0–0–0 | 3–0–0 | 2–0–0 | 0–0–0 |"
    assert pca == "| PCA | 0–0–0 | 2–0–1 | 1–0–0 | 0–0–0 |"


def test_main_table_by_hand(report, summary):
    table = report.main_table(summary, ["bcl", "raw", "PCA"])
    header, _, bcl, raw, pca = table.splitlines()
    assert "| 50 labels, 3 tables | 200 labels, 1 tables |" in header
    assert "20 labels" not in header
    # Ranks at 50 labels: 1, 1, 2; 2, 2, 3; 3, 3, 1. At 200 only digits counts.
    assert bcl == "| bcl | 0.800 | 0.960 | 1.3, 1.0 |  |"
    assert raw == "| raw | 0.600 | 0.800 | 2.3, 2.5 | +20.0 (−4.8 to +44.8) |"
    assert pca.startswith("| PCA | 0.730 | 0.800 | 2.3, 2.5 | +7.0 ")


def test_report_of_a_summary(report, summary, tmp_path, monkeypatch, capsys):
    path = tmp_path / "summary.csv"
    summary.to_csv(path, index=False)
    run(report, monkeypatch, "--summary", path)
    every = capsys.readouterr().out
    assert report.main_table(summary, ["bcl", "raw", "PCA"]) in every
    assert report.table_of_differences(summary, ["bcl", "raw", "PCA"]) in every
    assert "p = 0.37 with 50 labels\n" in every  # chi-squared 2
    assert "| wine | 50 | 0.900 ± 0.010 | 0.700 ± 0.010 | 0.500 ± 0.010 |" in every
    chosen = ("--data", "wine", "--methods", "PCA", "raw", "--labels", "200", "all")
    run(report, monkeypatch, "--summary", path, *chosen)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Accuracy"
    assert lines[4:] == ["| wine | 200 | – | 0.880 ± 0.010 |"]
    with pytest.raises(SystemExit, match="UMAP"):
        run(report, monkeypatch, "--summary", path, "--methods", "UMAP")


def test_tracked_summary_has_every_method_on_every_table(study, report):
    summary = study.read(report.SUMMARY)
    assert not summary.duplicated(study.SUMMARY_KEYS).any()
    assert report.SUMMARY.stat().st_size < 100_000
    is_old = summary["half"].isin(["tuning", "confirmation", "failure"])
    old = summary["method"].where(is_old).str.removesuffix(":bin_weight=0.0")
    methods = old.fillna(summary["method"])
    has = set(zip(summary["half"], summary["data"], methods, strict=True))
    references = {"raw", "random forest", "gradient boosting"}
    wanted = {half: set(study.METHODS) for half in study.HALVES}
    wanted["real"] = {"bcl", "simclr", "PCA", *references}
    wanted["held out"] = {"bcl", *references}
    names = {half: set(tables) for half, tables in study.HALVES.items()}
    names["real"] = set(summary["data"][summary["half"] == "real"])
    assert len(names["real"]) == 14
    assert has >= {
        (half, data, method)
        for half in names
        for data in names[half]
        for method in wanted[half]
    }


def test_runs_resume(study, two_tables, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    command = ["--data", "classes", "--seeds", 2, "--draws", 3, "--jobs", 1]
    command += ["--labels", "20", "200", "all", "--output", path, "--methods"]

    run(study, monkeypatch, *command, "raw")
    raw = study.read(path)
    # Of each split, three draws of 20 labels and one of all; there are no 200.
    assert raw.groupby(["seed", "labels"]).size().to_dict() == {
        (seed, labels): n
        for seed in (0, 1)
        for labels, n in {"20": 3, "all": 1}.items()
    }
    assert raw["accuracy"].min() > 0.9
    run(study, monkeypatch, *command, "raw", "random forest")
    both = study.read(path)
    assert both.iloc[: len(raw)].equals(raw)
    assert (both["method"] == "random forest").sum() == len(raw)
    both[both["seed"] == 0].to_csv(path, index=False)  # as if it had been stopped
    run(study, monkeypatch, *command, "raw", "random forest")
    keys = ["method", "seed", "labels", "draw"]
    again = study.read(path).sort_values(keys, ignore_index=True)
    assert again.equals(both.sort_values(keys, ignore_index=True))


def test_summary_of_runs(study, two_tables, tmp_path, monkeypatch):
    rows, summary = tmp_path / "rows.csv", tmp_path / "summary.csv"
    command = ["--seeds", 2, "--draws", 2, "--jobs", 1, "--labels", "20", "all"]
    command += ["--output", rows, "--summary", summary, "--methods"]
    run(study, monkeypatch, *command, "raw")
    first = study.read(summary)
    expected = study.read(rows).query("data == 'again' and labels == '20'")["accuracy"]
    of_again = first.query("data == 'again' and labels == '20'").iloc[0]
    assert of_again["mean"] == pytest.approx(expected.mean(), abs=1e-5)
    assert of_again["sd"] == pytest.approx(expected.std(), abs=1e-5)
    assert list(of_again[["n_splits", "n"]]) == [2, 4]
    assert list(first.query("labels == 'all'")["n"]) == [2, 2]

    # Results are added; those that are there stay, in their order, or are replaced.
    changed = study.read(rows).assign(accuracy=0.5)
    changed.to_csv(rows, index=False)
    run(study, monkeypatch, *command, "random forest")
    second = study.read(summary)
    assert second.iloc[: len(first)].equals(first)
    assert set(second.iloc[len(first) :]["method"]) == {"random forest"}
    run(study, monkeypatch, *command, "raw", "--data", "classes")
    third = study.read(summary)
    assert third[study.SUMMARY_KEYS].equals(second[study.SUMMARY_KEYS])
    is_raw = third["method"] == "raw"
    replaced = is_raw & (third["data"] == "classes")
    assert (third.loc[replaced, "mean"] == 0.5).all()
    assert (third.loc[is_raw & ~replaced, "mean"] > 0.9).all()


def test_settings_in_a_name(study):
    method = study.make_method("bcl:beta=0.9;hidden_layer_sizes=[8]", 3)
    assert (method.loss, method.random_state) == ("bcl", 3)
    assert (method.beta, method.hidden_layer_sizes) == (0.9, [8])
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
    draws = [study.draw_labels(y, 20, draw) for draw in range(5)]
    assert all(set(y[labeled]) == {0, 1, 2} for labeled in draws)
    assert set(draws[0]) != set(draws[1])
    known = study.partly(y, draws[0])
    assert set(np.flatnonzero(known != -1)) == set(draws[0])
    assert (known[draws[0]] == y[draws[0]]).all()
    assert len(study.draw_labels(y, len(y), 0)) == len(y)


def test_self_training_labels_rows(study):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100)
    X = rng.normal(size=(200, 2)) + 2 * y[:, None]
    known = np.where(np.arange(200) < 40, y, -1)
    model = study.SelfTraining().fit(X, known)
    assert (model.predict(X) == y).mean() > 0.88
    assert (model.model_.transduction_ != -1).sum() > 60  # more than are known
    assert study.SelfTraining().fit(X, y).score(X, y) > 0.88  # without a warning


def test_autoencoder_keeps_what_rows_are_made_of(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    autoencoder = importlib.import_module("autoencoder")
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(100, 2))
    X = 1000 + 50 * factors @ rng.normal(size=(2, 8))  # of any scale
    model = autoencoder.Autoencoder(4, (16,), random_state=0)
    state = torch.get_rng_state()
    Z = model.fit_transform(X)
    assert Z.shape == (100, 4) and Z.dtype == np.float32
    assert torch.equal(torch.get_rng_state(), state)
    rows = np.column_stack([Z, np.ones(100)])
    residual = factors - rows @ np.linalg.lstsq(rows, factors, rcond=None)[0]
    assert residual.var() < 0.1 * factors.var()


def test_rare_classes_have_labels_in_proportion(study):
    y = np.repeat([0, 1, 2, 3], [70, 26, 2, 2])
    for draw in range(3):
        labeled = study.draw_labels(y, 20, draw)
        assert len(set(labeled)) == 20
        assert list(np.bincount(y[labeled])) == [13, 5, 1, 1]
        some = study.draw_labels(y, 3, draw)
        assert len(some) == len(set(y[some])) == 3


def test_auc_is_the_mean_over_classes(study):
    class Model:
        classes_ = np.array([0, 1])

        def predict_proba(self, X):
            return np.column_stack([1 - X[:, 0], X[:, 0]])

    X = np.array([[0.1], [0.9], [0.4], [0.6]])
    assert study.macro_auc(Model(), X, np.array([0, 1, 0, 1])) == 1
    # Scores of a class that the model does not know are all the same.
    expected = np.mean([3 / 4, 1, 0.5])
    assert study.macro_auc(Model(), X, np.array([0, 1, 2, 0])) == expected


def test_real_tables_come_from_a_folder(study, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=60), rng.integers(3, size=60)])
    X[0] = np.nan
    kinds = np.array(["n", "c"])
    np.savez(tmp_path / "mine.npz", X_raw=X, kinds=kinds, y=np.arange(60) % 2)
    tables = sys.modules["tables"].real_tables(str(tmp_path))
    assert list(tables) == ["mine"]
    X, y = tables["mine"](seed=0)
    assert_array_equal(y, np.arange(60) % 2)
    assert X.dtypes.astype(str).to_list() == ["float64", "category"]
    dense = study.without_columns(X[:40], X[40:])
    # The number, whether it is missing, three categories and none.
    assert [part.shape for part in dense] == [(40, 6), (20, 6)]
    assert not np.isnan(dense[0]).any()
    monkeypatch.setitem(study.HALVES, "real", tables)
    monkeypatch.setattr(study, "MOST_REAL_ROWS", 30)
    monkeypatch.setattr(study, "CS", (0.1,))
    for name in ("random forest", "bcl:max_epochs=1;hidden_layer_sizes=[8]"):
        rows = study.run("real", "mine", name, 0, 2, ["20", "all"])
        assert [row[4] for row in rows] == ["20", "20", "all"]


def test_no_method_sees_labels_unasked(study, two_tables):
    with pytest.raises(ValueError, match="tau_plus='labels' needs labels"):
        study.run("real", "classes", "bcl:tau_plus='labels'", 0, 1, ["20"])


def test_a_folder_without_tables_is_an_error(study, tmp_path):
    with pytest.raises(SystemExit, match=r"SKLEARN_BCL_TABLES: no file NAME\.npz in"):
        importlib.import_module("tables").real_tables(tmp_path)


def test_results_of_another_version_are_not_continued(study, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("half,data,method,seed,labels,draw,accuracy,versions\n")
    with pytest.raises(SystemExit, match="has other columns"):
        run(study, monkeypatch, "--data", "wine", "--output", path)


# Tables of the README and of the documentation


@pytest.fixture(scope="module")
def fragments():
    spec = importlib.util.spec_from_file_location("fragments", DOCS / "_fragments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fragments()


def cells_of(table):
    rows = [line.strip("| ").split(" | ") for line in table.split("\n") if line]
    return [row for row in rows if set(row[0]) != {"-"}]


def test_the_readme_has_the_figures_of_the_summary(fragments):
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| method.*?\n\n", text, re.DOTALL | re.MULTILINE)[0]
    _, *rows = cells_of(table)
    _, *expected = cells_of(fragments["real_means"])
    for row, other in zip(rows, expected, strict=True):
        assert row == [cell.split(" / ")[0] for cell in other]


def test_the_page_has_all_tables_and_they_are_narrow(fragments):
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"_generated/(\w+)\.md", page)) == set(fragments)
    for name, table in fragments.items():
        assert 1 < len(cells_of(table)[0]) <= 7, name
