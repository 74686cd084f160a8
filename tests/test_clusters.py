"""Searches on clusters and rows in stores: results are those without."""

import numpy as np
import pytest
from helpers import LONG, small
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline


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
