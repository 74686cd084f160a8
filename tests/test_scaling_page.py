"""The recipes of docs/scaling.md run as they are printed, where their package is."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import LONG, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
RECIPES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def needs(recipe):
    found = re.match(r"# needs: (\w+)", recipe)
    return found[1] if found else "numpy"


def test_the_page_has_recipes():
    assert {"h5py", "zarr", "pyarrow", "datasets", "dask"} <= set(map(needs, RECIPES))


@pytest.mark.filterwarnings("default")  # of the packages themselves
@pytest.mark.parametrize("recipe", RECIPES, ids=needs)
def test_recipes(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if needs(recipe) == "datasets":  # the examples have a module of this name
        command = [sys.executable, "-c", recipe]
        run = subprocess.run(command, capture_output=True, text=True)
        if "No module named 'datasets'" in run.stderr:
            pytest.skip("needs datasets")
        assert run.returncode == 0, run.stderr
        return
    if importlib.util.find_spec(needs(recipe)) is None:
        pytest.skip(f"needs {needs(recipe)}")
    if needs(recipe) == "distributed" and not LONG:
        pytest.skip("takes a minute: SKLEARN_BCL_LONG=1")
    found = {"__name__": "recipe"}
    exec(compile(recipe, "docs/scaling.md", "exec"), found)
    if "search" in found:
        assert found["search"].best_score_ > 0.5
    elif "Z" in found:
        assert_allclose(found["Z"].std(), found["Z"][:1000].std(), rtol=0.2)
    else:
        assert found["embedder"].n_iter_ in (2, 3)


@pytest.mark.parametrize("package", ["h5py", "zarr"])
def test_stores_are_read_as_arrays(package, tmp_path, X):
    module = pytest.importorskip(package)
    if package == "h5py":
        store = module.File(tmp_path / "X.h5", "w").create_dataset("X", data=X)
    else:
        store = module.create_array(tmp_path / "X.zarr", data=X, chunks=X.shape)
    expected = small().fit(X).transform(X)
    embedder = small().fit(store)
    assert_array_equal(embedder.transform(store), expected)


@pytest.mark.skipif(not LONG, reason="takes minutes: SKLEARN_BCL_LONG=1")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_grids_on_a_cluster(backend):
    joblib = pytest.importorskip("joblib")
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(small(), LogisticRegression())
    grid = {"bclembedder__beta": [0.5, 0.6, 0.7, 0.8]}
    serial = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2)
    if backend == "dask":
        client = pytest.importorskip("distributed").Client(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        )
        with client, joblib.parallel_config(backend="dask"):
            search.fit(X, y)
    else:
        ray = pytest.importorskip("ray")
        from ray.util.joblib import register_ray

        ray.init(num_cpus=2, include_dashboard=False)
        register_ray()
        with joblib.parallel_config(backend="ray"):
            search.fit(X, y)
        ray.shutdown()
    for split in range(3):
        key = f"split{split}_test_score"
        assert_array_equal(search.cv_results_[key], serial.cv_results_[key])
    Z = search.best_estimator_[0].transform(X)
    assert_array_equal(Z, serial.best_estimator_[0].transform(X))
    assert np.isfinite(Z).all()
