import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.plotting import (
    EmbeddingDisplay,
    ImportanceWeightDisplay,
    LossCurveDisplay,
    PosteriorDisplay,
    PriorSearchDisplay,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def embedder(X):
    return small().fit(X)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


# Every Display


def displays(embedder, X, ax=None):
    y = np.arange(len(X)) % 3
    yield EmbeddingDisplay.from_estimator(embedder, X, y, ax=ax)
    yield LossCurveDisplay.from_estimator(embedder, ax=ax)
    yield ImportanceWeightDisplay.from_estimator(embedder, ax=ax)
    yield PriorSearchDisplay([[0.1, np.nan]], [1, 2], [3], "a", "b").plot(ax)


def test_axes_are_made_or_taken(embedder, X):
    for display in displays(embedder, X):
        assert display.ax_.figure is display.figure_
        assert display.ax_.get_xlabel() and display.ax_.get_ylabel()
        assert_array_equal(display.figure_.get_size_inches(), [6, 4])
        again = display.plot()
        assert again is display
    figure, ax = plt.subplots()
    for display in displays(embedder, X, ax):
        assert display.ax_ is ax and display.figure_ is figure


def test_without_matplotlib(embedder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sklearn-bcl\[plot\]"):
        LossCurveDisplay.from_estimator(embedder)


# EmbeddingDisplay


def test_embedding_by_principal_components(embedder, X):
    display = EmbeddingDisplay.from_estimator(embedder, X)
    expected = PCA(2).fit_transform(embedder.transform(X))
    assert_allclose(display.points, expected, atol=1e-5)
    assert "of variance" in display.ax_.get_xlabel()
    assert display.ax_.get_legend() is None


def test_embedding_by_a_reducer(embedder, X):
    reducer = PCA(2, whiten=True)
    display = EmbeddingDisplay.from_estimator(embedder, X, reducer=reducer)
    assert_allclose(np.std(display.points, axis=0), 1, rtol=0.02)
    assert not hasattr(reducer, "components_")
    with pytest.raises(ValueError, match=r"'points' must have 2 columns\. Got 3"):
        EmbeddingDisplay.from_estimator(embedder, X, reducer=PCA(3))


def test_labels_of_an_embedding(X):
    points = X[:, :2]
    labels = np.repeat(["ant", "bee", "-1"], [40, 40, 20])
    display = EmbeddingDisplay(points, labels).plot(s=5)
    assert legend(display.ax_) == ["no label", "ant", "bee"]
    assert [len(c.get_offsets()) for c in display.ax_.collections] == [20, 40, 40]
    many = EmbeddingDisplay(points, np.arange(100) % 20).plot().ax_.collections
    looks = {(*c.get_facecolor()[0], len(c.get_paths()[0].vertices)) for c in many}
    assert len(looks) >= 18  # colors and markers together tell classes apart
    for unlabeled in (-1, -1.0):
        known = np.where(np.arange(100) < 50, 1, unlabeled)
        display = EmbeddingDisplay(points, known).plot()
        assert legend(display.ax_)[0] == "no label"
    continuous = EmbeddingDisplay(points, X[:, 2]).plot(cmap="magma")
    assert continuous.ax_.get_legend() is None
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EmbeddingDisplay(points, labels[:9]).plot()


# LossCurveDisplay


def test_loss_curves(X):
    embedder = small(early_stopping=True).fit(X)
    display = LossCurveDisplay.from_estimator(embedder, name="tiny")
    assert legend(display.ax_) == ["tiny, training", "tiny, held out"]
    training, held_out = display.ax_.lines
    assert_array_equal(training.get_xdata(), [1, 2, 3])
    assert_array_equal(training.get_ydata(), embedder.loss_curve_)
    assert_array_equal(held_out.get_ydata(), embedder.validation_loss_curve_)


def test_held_out_losses_are_the_last_of_a_warm_start(X):
    embedder = small(warm_start=True).fit(X).set_params(early_stopping=True).fit(X)
    training, held_out = LossCurveDisplay.from_estimator(embedder).ax_.lines
    assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5, 6])
    assert_array_equal(held_out.get_xdata(), [4, 5, 6])


def test_style_by_any_alias(embedder, X):
    display = LossCurveDisplay.from_estimator(embedder, ls=":", c="red", lw=3)
    (line,) = display.ax_.lines
    assert (line.get_linestyle(), line.get_color(), line.get_linewidth()) == (
        ":",
        "red",
        3,
    )
    (points,) = EmbeddingDisplay(X[:, :2]).plot(c="red").ax_.collections
    assert_array_equal(points.get_facecolor()[0, :3], [1, 0, 0])


# ImportanceWeightDisplay


def test_importance_weights_of_several_priors(X):
    priors = {"alpha": 0.8, "beta": 0.9, "tau_plus": 0.2}
    display = ImportanceWeightDisplay.from_estimator(small(**priors).fit(X))
    other = {"alpha": 0.9, "beta": 1.0, "tau_plus": 0.1}
    ImportanceWeightDisplay.from_priors(**other, ax=display.ax_)
    _, first, second = display.ax_.lines
    assert_allclose(first.get_ydata(), importance_weights(display.p, **priors))
    assert_allclose(second.get_ydata(), importance_weights(display.p, **other))
    assert legend(display.ax_)[1] == "α = 0.8, β = 0.9, τ⁺ = 0.2"
    assert display.ax_.get_ylim()[1] > second.get_ydata().max()


# PosteriorDisplay


def test_posterior(embedder, X):
    y = (X[:, 0] > 0).astype(int)
    display = PosteriorDisplay.from_estimator(embedder, X, y, n_bins=4)
    others = ~np.eye(100, dtype=bool)
    proba = embedder.true_negative_proba(X)
    truth = y[:, None] != y
    auc = [roc_auc_score(truth[i][others[i]], proba[i][others[i]]) for i in range(100)]
    assert_allclose(display.auc_, np.mean(auc))
    assert_allclose(
        display.brier_score_, np.square(proba - truth)[others].mean(), rtol=1e-5
    )
    error = abs(proba[others].mean() - truth[others].mean())
    assert display.calibration_error_ >= error - 1e-6
    assert f"{display.auc_:.3f}" in display.ax_[0].get_title()
    assert [len(axes.lines) for axes in display.ax_] == [0, 2]


def test_calibrated_posterior_has_no_calibration_error():
    rng = np.random.RandomState(0)
    proba = rng.uniform(size=(200, 200))
    display = PosteriorDisplay(proba, rng.uniform(size=(200, 200)) < proba).plot()
    assert display.calibration_error_ < 0.02
    assert PosteriorDisplay(proba, proba < 0.5).plot().auc_ == 0


class Candidates:
    """An estimator whose posterior says which rows it was asked for."""

    def true_negative_proba(self, X):
        return np.tile(np.ravel(X), (len(X), 1))


def test_posterior_of_many_rows():
    rows = np.linspace(0, 1, 1100)[:, None]
    # Few anchors have a candidate of their own class, and so an AUC.
    y = np.maximum(np.arange(1100), 5)
    first, again, other = (
        PosteriorDisplay.from_estimator(Candidates(), X, y, random_state=seed)
        for X, seed in ((rows, 0), (rows.tolist(), 0), (rows, 1))
    )
    assert np.shape(first.proba) == np.shape(first.is_true_negative) == (1000, 999)
    asked = np.unique(first.proba)
    assert len(asked) == 1000 and np.isin(asked, rows).all()
    assert_allclose(asked.mean(), 0.5, atol=0.02)
    assert_array_equal(first.proba, again.proba)
    assert not np.array_equal(first.proba, other.proba)


def test_posterior_of_labeled_rows_and_frames(embedder, X):
    y = np.arange(100) % 2
    first, second = (
        PosteriorDisplay.from_estimator(embedder, rows, y, ax=plt.subplots(1, 2)[1])
        for rows in (X, X.tolist())
    )
    assert np.shape(first.proba) == (100, 99)
    assert_array_equal(first.proba, second.proba)
    partly = np.where(np.arange(100) < 10, y, -1)
    display = PosteriorDisplay.from_estimator(embedder, X, partly)
    assert_array_equal(
        display.proba,
        PosteriorDisplay.from_estimator(embedder, X[:10], y[:10]).proba,
    )
    framed = small().fit(pd.DataFrame(X).add_prefix("x"))
    PosteriorDisplay.from_estimator(framed, pd.DataFrame(X).add_prefix("x"), y)


@pytest.mark.parametrize(
    ("y", "ax", "match"),
    [
        (np.zeros(100), None, "two classes"),
        (np.arange(100) % 2, 1, "must be 2 axes"),
    ],
)
def test_invalid_posterior(embedder, X, y, ax, match):
    ax = ax and plt.subplots()[1]
    with pytest.raises(ValueError, match=match):
        PosteriorDisplay.from_estimator(embedder, X, y, ax=ax)


def test_bins(embedder, X):
    few = PosteriorDisplay.from_estimator(embedder, X[:4], [0, 0, 1, 1])
    assert np.isfinite(few.calibration_error_)
    with pytest.raises(ValueError, match="'n_bins' must be"):
        PosteriorDisplay.from_estimator(embedder, X, np.arange(100) % 2, n_bins=0)


# PriorSearchDisplay


@pytest.fixture(scope="module")
def search(X):
    pipeline = make_pipeline(small(max_epochs=1), LogisticRegression())
    grid = [
        {"smallembedder__alpha": [0.6, 0.9], "smallembedder__tau_plus": [0.1, 0.2]},
        {
            "smallembedder__alpha": [0.9],
            "smallembedder__beta": [0.9],
            "smallembedder__tau_plus": [0.3, 0.2],
        },
    ]
    pipeline.steps[0] = ("smallembedder", pipeline.steps[0][1])
    y = (X[:, 0] > 0).astype(int)
    scoring = ["accuracy", "neg_log_loss"]
    return GridSearchCV(pipeline, grid, cv=2, scoring=scoring, refit="accuracy").fit(
        X, y
    )


@pytest.mark.parametrize("metric", [None, "neg_log_loss"])
def test_search_over_two_priors(search, metric):
    display = PriorSearchDisplay.from_search(search, metric=metric)
    results = pd.DataFrame(search.cv_results_)
    expected = results.pivot_table(
        index="param_smallembedder__alpha",
        columns="param_smallembedder__tau_plus",
        values=f"mean_test_{metric or 'accuracy'}",
        aggfunc="max",
    )
    assert_array_equal(display.x_values, [0.1, 0.2, 0.3])
    assert_array_equal(display.y_values, [0.6, 0.9])
    assert_allclose(display.scores, expected)
    assert len(display.ax_.texts) == 5  # and one pair was not searched
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("tau_plus", "alpha")


def test_settings_without_one_of_the_priors_and_names(X):
    grid = [
        {"alpha": [0.6]},
        {"alpha": ["labels", 0.8], "tau_plus": [0.2, 0.1]},
    ]
    y = (X[:, 0] > 0).astype(int)
    search = GridSearchCV(small(max_epochs=1), grid, cv=2).fit(X, y)
    display = PriorSearchDisplay.from_search(search)
    assert (display.x_values, display.y_values) == ([0.1, 0.2], [0.8, "labels"])
    assert np.isfinite(display.scores).all()


def test_last_rung_of_successive_halving(X):
    search = HalvingGridSearchCV(
        small(),
        {"alpha": [0.6, 0.9], "tau_plus": [0.1]},
        factor=2,
        cv=2,
        min_resources=50,
    ).fit(X)
    assert search.n_iterations_ == 2
    display = PriorSearchDisplay.from_search(search)
    results = pd.DataFrame(search.cv_results_)
    last = results.groupby("param_alpha")["mean_test_score"].last()
    assert_allclose(np.ravel(display.scores), last)


def test_search_that_failed(X):
    grid = {"alpha": [0.6], "tau_plus": [0.1]}
    search = GridSearchCV(
        small(max_epochs=1), grid, cv=2, scoring=lambda *_: np.nan, refit=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X)
    with pytest.raises(ValueError, match="no finite mean_test_score"):
        PriorSearchDisplay.from_search(search)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"metric": "f1"}, r"'metric' must be one of \['accuracy', 'neg_log_loss'\]"),
        ({"x": "temperature"}, "'temperature' must be one of those searched"),
    ],
)
def test_invalid_search(search, params, match):
    with pytest.raises(ValueError, match=match):
        PriorSearchDisplay.from_search(search, **params)
