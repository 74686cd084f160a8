"""Searches over the priors, alone and in pipelines."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import sklearn
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from torch import nn

from sklearn_bcl.bayes import prior_grid
from sklearn_bcl.losses import BCLLoss
from sklearn_bcl.metrics import embedding_auc_scorer, uniformity_scorer

GRID = {"embed__tau_plus": [0.1, 0.4], "embed__alpha": [0.6, 0.9]}


class TiedEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("table", torch.ones(3, dtype=torch.bfloat16))

    def forward(self, x):
        return self.frozen * self.second(self.first(x))


@pytest.fixture(scope="module")
def data(digits):
    X, y = digits
    return X[:200], y[:200] % 3


def make_pipeline(**params):
    classifier = LogisticRegression(max_iter=1000)
    return Pipeline([("embed", small()), ("classify", classifier)], **params)


def test_in_processes_and_prediction_in_another_one(data, tmp_path):
    X, y = data
    search = GridSearchCV(make_pipeline(), GRID, cv=2, n_jobs=2, error_score="raise")
    search.fit(X, y)
    sequential = clone(search).set_params(n_jobs=1).fit(X, y)
    assert_array_equal(
        search.cv_results_["mean_test_score"],
        sequential.cv_results_["mean_test_score"],
    )
    joblib.dump(search.best_estimator_, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    # Nothing but what a server needs is imported, and no import warns.
    script = (
        "import joblib, numpy as np, sklearn_bcl, sys\n"
        "assert 'matplotlib' not in sys.modules\n"
        "model = joblib.load('model.joblib')\n"
        "np.save('predictions.npy', model.predict(np.load('X.npy')))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    subprocess.run(command, cwd=tmp_path, check=True)
    predictions = np.load(tmp_path / "predictions.npy")
    assert_array_equal(predictions, search.best_estimator_.predict(X))


def n_threads(X, y):
    """What a worker of a search may use."""
    import torch

    return torch.get_num_threads()


def test_processes_do_not_crowd_the_cores(data):
    n_cores = joblib.cpu_count()
    threads = joblib.Parallel(n_jobs=n_cores)(
        joblib.delayed(n_threads)(*data) for _ in range(n_cores)
    )
    assert sum(threads) <= n_cores


@pytest.mark.parametrize(
    "make",
    [
        lambda pipeline: RandomizedSearchCV(
            pipeline, {"embed__alpha": [0.6, 0.9]}, n_iter=2, cv=2, random_state=0
        ),
        lambda pipeline: HalvingGridSearchCV(
            pipeline, GRID, cv=2, min_resources=100, random_state=0
        ),
        lambda pipeline: HalvingGridSearchCV(
            pipeline, GRID, resource="embed__max_epochs", max_resources=4, cv=2
        ),
        lambda pipeline: GridSearchCV(pipeline, prior_grid(3, prefix="embed__"), cv=2),
    ],
    ids=["random", "halving rows", "halving epochs", "prior_grid"],
)
def test_other_searches(data, make):
    X, y = data
    search = make(make_pipeline()).set_params(error_score="raise").fit(X, y)
    assert search.best_params_.keys() <= {
        "embed__alpha",
        "embed__beta",
        "embed__tau_plus",
        "embed__max_epochs",
    }
    assert search.predict(X).shape == (200,)


def test_optuna(data):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        model = make_pipeline().set_params(
            embed__tau_plus=trial.suggest_float("tau_plus", 0, 0.5),
            embed__alpha=trial.suggest_float("alpha", 0.6, 0.95),
        )
        return cross_val_score(model, *data, cv=2, error_score="raise").mean()

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=2)
    assert set(study.best_params) == {"tau_plus", "alpha"}


def test_memory_fits_each_embedder_once(data, tmp_path):
    X, y = data
    model = make_pipeline(memory=str(tmp_path))
    grid = {"embed__tau_plus": [0.1, 0.4], "classify__C": [0.1, 1, 10]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    cached = list(tmp_path.rglob("output.pkl"))
    # Two folds of two embedders, and the refit.
    assert len(cached) == 5
    again = GridSearchCV(make_pipeline(), grid, cv=2).fit(X, y)
    assert_array_equal(
        search.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize(
    "own",
    [
        {
            "encoder": nn.Sequential(
                nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
            )
        },
        {"loss": BCLLoss(beta=0.7)},
        {"encoder": TiedEncoder()},
    ],
)
def test_memory_knows_modules(data, own, tmp_path):
    X, y = data
    steps = [("embed", small(**own)), ("classify", LogisticRegression(max_iter=5000))]
    model = Pipeline(steps, memory=str(tmp_path))
    grid = {"classify__C": [0.1, 1, 10, 100]}
    GridSearchCV(model, grid, cv=2, refit=False, error_score="raise").fit(X, y)
    assert len(list(tmp_path.rglob("output.pkl"))) == 2  # one of each fold


def test_modules_survive_pickling(data):
    encoder = TiedEncoder()
    embedder = pickle.loads(pickle.dumps(small(encoder=encoder)))
    state = embedder.encoder.state_dict()
    assert embedder.encoder.second.weight is embedder.encoder.first.weight
    for name, value in encoder.state_dict().items():
        assert torch.equal(state[name], value) and state[name].dtype == value.dtype
    assert not embedder.encoder.frozen.requires_grad
    pickle.loads(pickle.dumps(small(encoder=nn.LazyLinear(3)))).fit(data[0])


def test_several_metrics_without_a_classifier(data):
    X, y = data
    scoring = {"auc": embedding_auc_scorer, "uniformity": uniformity_scorer}
    search = GridSearchCV(
        small(), prior_grid(3), cv=2, scoring=scoring, refit="auc", error_score="raise"
    ).fit(X, y)
    assert (search.cv_results_["mean_test_auc"] > 0.5).all()
    assert search.best_score_ == search.cv_results_["mean_test_auc"].max()
    assert search.transform(X).shape == (200, 8)


def test_without_labels(data):
    X, _ = data
    search = GridSearchCV(small(), {"tau_plus": [0.1, 0.3]}, cv=2).fit(X)
    assert search.transform(X).shape == (200, 8)
    without = GridSearchCV(small(), {"tau_plus": [0.1, 0.3]}, cv=2, refit=False).fit(X)
    assert_array_equal(
        search.cv_results_["mean_test_score"], without.cv_results_["mean_test_score"]
    )


def test_metadata_routing(data):
    X, y = data
    expected = GridSearchCV(make_pipeline(), GRID, cv=2).fit(X, y)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = GridSearchCV(make_pipeline(), GRID, cv=2).fit(X, y)
    assert routed.best_params_ == expected.best_params_
    assert_array_equal(routed.predict(X), expected.predict(X))


def test_labels_of_a_pipeline_set_priors_only_when_asked_to(data):
    X, y = data
    silent = make_pipeline().fit(X, y)["embed"]
    asked = make_pipeline().set_params(embed__tau_plus="labels").fit(X, y)["embed"]
    assert silent.tau_plus_ == 0.1
    assert_allclose(asked.tau_plus_, np.square(np.bincount(y) / 200).sum())


def test_redundant_settings_are_the_same_fit(data):
    X, _ = data
    grids = [
        {"alpha": [0.5], "tau_plus": [0.0, 0.1, 0.5]},
        {"alpha": [0.6, 0.9], "beta": [0.5], "tau_plus": [0.0]},
    ]
    for grid in grids:
        first, *others = (
            small(**setting).fit_transform(X) for setting in ParameterGrid(grid)
        )
        for other in others:
            assert_allclose(other, first, rtol=1e-4, atol=1e-5)
