"""Tools of others, each compared with the same steps done by hand.

docs/guide/works_with.md lists them.
"""

import subprocess
import sys
from io import BytesIO

import joblib
import numpy as np
import pytest
import sklearn
import torch
from helpers import LONG, noise, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import (
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from skorch.callbacks import MlflowLogger, TensorBoard
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.losses import BCLLoss

NAMES = [f"bclembedder{i}" for i in range(8)]
IMAGES = np.random.RandomState(0).randint(0, 256, size=(20, 8, 8)).astype(np.uint8)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X[50:], (y[50:] == 2).astype(int)


@pytest.fixture(scope="module")
def Z(iris):
    return small().fit_transform(iris[0])


def classifier():
    return LogisticRegression(max_iter=5000)


def pipeline():
    return make_pipeline(small(), classifier())


def mixed_table(X, y):
    """Numbers, a category, text, dates and missing values."""
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "length": X[:, 0],
            "width": np.where(X[:, 1] > 3, np.nan, X[:, 1]),
            "color": np.where(y, "red", "blue"),
            "day": pd.date_range("2020-01-01", periods=len(X)).astype(str),
            "name": [f"flower number {i}" for i in range(len(X))],
        }
    )


# DataFrames and displays


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_come_out(iris, Z, library):
    frames = pytest.importorskip(library)
    X, _ = iris
    one = small().set_output(transform=library).fit_transform(X)
    with sklearn.config_context(transform_output=library):
        other = small().fit_transform(X)
        in_pipeline = make_pipeline(StandardScaler(), small()).fit_transform(X)
    for frame in (one, other, in_pipeline):
        assert isinstance(frame, frames.DataFrame)
        assert list(frame.columns) == NAMES
    assert one.to_numpy().dtype == np.float32
    assert_array_equal(one, Z)
    assert_array_equal(other, Z)


def test_index_of_a_frame_is_kept(iris, Z):
    pd = pytest.importorskip("pandas")
    index = [f"row {i}" for i in range(len(Z))]
    X = pd.DataFrame(iris[0], columns=list("abcd"), index=index)
    frame = small().set_output(transform="pandas").fit_transform(X)
    assert list(frame.index) == index
    assert_array_equal(frame, Z)


def test_diagram_shows_parameters():
    own = BCLEmbedder(encoder=nn.Sequential(nn.Linear(4, 8)), loss=BCLLoss(beta=0.7))
    model = make_pipeline(StandardScaler(), own)
    with sklearn.config_context(display="diagram"):
        page = model._repr_html_()
    for text in ("StandardScaler", "BCLEmbedder", "in_features=4", "beta=0.7"):
        assert text in page
    with sklearn.config_context(display="text"):
        assert "beta=0.7" in repr(model)
        assert not hasattr(model, "_repr_html_")


# scikit-learn's other estimators


def test_column_transformer(iris):
    X, y = iris
    table = mixed_table(X, y)
    steps = [
        ("embed", small(), ["length", "width", "color"]),
        ("kept", "passthrough", ["length"]),
    ]
    both = ColumnTransformer(steps).set_output(transform="pandas")
    found = both.fit_transform(table)
    assert list(found) == [f"embed__{name}" for name in NAMES] + ["kept__length"]
    expected = small().fit_transform(table[["length", "width", "color"]])
    assert_array_equal(found.iloc[:, :8], expected)
    assert_array_equal(found["kept__length"], table["length"])


def test_feature_union(iris, Z):
    X, _ = iris
    union = FeatureUnion([("embed", small()), ("raw", StandardScaler())])
    found = union.fit_transform(X)
    assert_allclose(found, np.hstack([Z, StandardScaler().fit_transform(X)]))
    names = union.get_feature_names_out(list("abcd"))
    assert list(names) == [f"embed__{name}" for name in NAMES] + [
        f"raw__{name}" for name in "abcd"
    ]


def test_frozen_embedder_is_not_fitted_again(iris):
    X, y = iris
    embedder = small().fit(X)
    model = make_pipeline(FrozenEstimator(embedder), classifier())
    scores = cross_val_score(model, X, y, cv=3, error_score="raise")
    by_hand = cross_val_score(classifier(), embedder.transform(X), y, cv=3)
    assert_allclose(scores, by_hand)
    threshold = TunedThresholdClassifierCV(model, cv=3).fit(X, y).best_threshold_
    tuned = TunedThresholdClassifierCV(classifier(), cv=3).fit(embedder.transform(X), y)
    assert_allclose(threshold, tuned.best_threshold_, rtol=1e-5)


def test_tuned_threshold(iris):
    X, y = iris
    model = TunedThresholdClassifierCV(pipeline(), cv=2).fit(X, y)
    proba = pipeline().fit(X, y).predict_proba(X)[:, 1]
    assert_array_equal(model.predict(X), proba >= model.best_threshold_)


def test_calibration(iris):
    X, y = iris
    train, test = np.arange(0, 100, 2), np.arange(1, 100, 2)
    model = CalibratedClassifierCV(pipeline(), cv=[(train, test)]).fit(X, y)
    fitted = FrozenEstimator(pipeline().fit(X[train], y[train]))
    by_hand = CalibratedClassifierCV(fitted, ensemble=False).fit(X[test], y[test])
    assert_allclose(model.predict_proba(X), by_hand.predict_proba(X), rtol=1e-4)


def test_stacking(iris):
    X, y = iris
    forest = RandomForestClassifier(5, random_state=0)
    parts = [("bcl", pipeline()), ("forest", forest)]
    stack = StackingClassifier(parts, classifier(), cv=2).fit(X, y)
    columns = [
        cross_val_predict(clone(part), X, y, cv=2, method="predict_proba")[:, 1]
        for _, part in parts
    ]
    by_hand = classifier().fit(np.column_stack(columns), y)
    assert_allclose(stack.final_estimator_.coef_, by_hand.coef_, rtol=1e-3)


def test_self_training_learns_from_rows_without_labels(iris, Z):
    X, y = iris
    partial = np.where(np.arange(100) % 5, -1, y)
    on_top = SelfTrainingClassifier(classifier())
    model = make_pipeline(small(), on_top).fit(X, partial)
    by_hand = clone(on_top).fit(Z, partial)
    assert_array_equal(model.predict(X), by_hand.predict(Z))
    around = SelfTrainingClassifier(pipeline()).fit(X, partial)
    labeled = around.transduction_ != -1
    last = pipeline().fit(X[labeled], around.transduction_[labeled])
    assert_array_equal(around.predict(X), last.predict(X))


def test_neighbors_and_importance_of_raw_columns(iris, Z):
    X, y = iris
    X = np.column_stack([X, np.zeros(len(X))])  # the last column tells nothing
    model = make_pipeline(small(), KNeighborsClassifier(3)).fit(X, y)
    by_hand = KNeighborsClassifier(3).fit(small().fit_transform(X), y)
    assert_array_equal(model.predict(X), by_hand.predict(model[0].transform(X)))
    found = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert found.importances_mean.shape == (5,)
    assert found.importances_mean[4] == 0
    assert found.importances_mean[:4].max() > 0


def test_clusters_of_embeddings():
    X, y = make_blobs(120, 5, centers=3, center_box=(-100, 100), random_state=0)
    Z = small().fit_transform(X)
    labels = make_pipeline(small(), KMeans(3, n_init=3, random_state=0)).fit_predict(X)
    by_hand = KMeans(3, n_init=3, random_state=0).fit_predict(Z)
    assert_array_equal(labels, by_hand)
    assert adjusted_rand_score(y, labels) == 1
    scan = make_pipeline(small(), HDBSCAN(min_cluster_size=15, copy=True))
    labels = scan.fit_predict(X)
    by_hand = HDBSCAN(min_cluster_size=15, copy=True).fit_predict(Z)
    assert_array_equal(labels, by_hand)
    assert adjusted_rand_score(y, labels) > 0.9


def test_joblib_memory_knows_embedders_and_their_results(iris, Z, tmp_path):
    X, _ = iris
    calls = []

    def embed(embedder, X):
        calls.append(embedder)
        return embedder.fit(X), embedder.transform(X)

    cached = joblib.Memory(tmp_path, verbose=0).cache(embed)
    for _ in range(2):
        embedder, found = cached(small(), X)
        assert_array_equal(found, Z)
        assert_array_equal(embedder.transform(X), Z)
    assert len(calls) == 1
    cached(small(alpha=0.8), X)
    assert len(calls) == 2


def test_joblib_memory_knows_fitted_embedders(iris, tmp_path):
    X, y = iris
    embedder, again = (small().fit(X) for _ in range(2))
    assert joblib.hash(embedder) == joblib.hash(again)
    assert joblib.hash(embedder) != joblib.hash(small(alpha=0.8).fit(X))
    steps = FrozenEstimator(embedder), PCA(2), LogisticRegression()
    pipeline = make_pipeline(*steps, memory=joblib.Memory(tmp_path, verbose=0))
    Z = make_pipeline(*steps[:2]).fit_transform(X)
    assert_array_equal(pipeline.fit(X, y)[:-1].transform(X), Z)


# Packages around scikit-learn


def test_imbalanced_learn(iris):
    pytest.importorskip("imblearn")
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline
    from imblearn.under_sampling import RandomUnderSampler

    X, y = iris[0][:70], iris[1][:70]  # 50 rows and 20 rows
    over, under = SMOTE(random_state=0), RandomUnderSampler(random_state=0)
    model = make_pipeline(small(), over, classifier()).fit(X, y)
    Z = small().fit_transform(X)
    Z_over, y_over = over.fit_resample(Z, y)
    assert np.bincount(y_over).tolist() == [50, 50]
    by_hand = classifier().fit(Z_over, y_over)
    assert_array_equal(model.predict(X), by_hand.predict(Z))

    model = make_pipeline(under, small(), classifier()).fit(X, y)
    X_under, _ = under.fit_resample(X, y)
    assert_array_equal(
        model[:-1].transform(X), small().fit(X_under).transform(X)
    )  # which draws no rows, as it is no fit


def test_skrub(iris):
    pytest.importorskip("skrub")
    from skrub import StringEncoder, TableVectorizer, ToCategorical

    table = mixed_table(*iris)
    text = StringEncoder(3, random_state=0)
    vectorizer = TableVectorizer(low_cardinality=ToCategorical(), high_cardinality=text)
    model = make_pipeline(vectorizer, small())
    found = model.fit_transform(table)
    columns = clone(vectorizer).fit_transform(table)
    assert_array_equal(found, small().fit_transform(columns))
    assert_array_equal(found, model.transform(table))
    embedder = model[-1]
    is_categorical = dict(
        zip(embedder.feature_names_in_, embedder.is_categorical_, strict=True)
    )
    assert [name for name, is_one in is_categorical.items() if is_one] == ["color"]
    assert sorted(embedder.categories_[0]) == ["blue", "red"]
    assert {"day_year", "name_0", "width"} <= is_categorical.keys()
    # The defaults of skrub make one-hot columns, and no category is left.
    one_hot = make_pipeline(TableVectorizer(), small()).fit(table)[-1]
    assert not one_hot.is_categorical_.any()


# Logs of training


class TensorBoardIn(TensorBoard):
    """A writer cannot be copied, so one is made when training begins."""

    def __init__(self, folder):
        super().__init__(writer=None)
        self.folder = folder

    def on_train_begin(self, net, **kwargs):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(self.folder)

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        self.writer = None


def test_tensorboard(iris, Z, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    embedder = small(callbacks=[TensorBoardIn(str(tmp_path))]).fit(iris[0])
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    scalars = log.Scalars("Loss/train_loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3]
    assert_allclose([scalar.value for scalar in scalars], embedder.loss_curve_)
    assert_array_equal(embedder.transform(iris[0]), Z)
    loaded = joblib.load(_dumped(embedder))
    assert_array_equal(loaded.transform(iris[0]), Z)


def test_mlflow(iris, Z, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # quick to set up
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        mlflow.log_params(small().get_params())
        embedder = small(callbacks=[MlflowLogger()]).fit(iris[0])
        embedder.save(tmp_path / "embedder.safetensors")
        mlflow.log_artifact(tmp_path / "embedder.safetensors")
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert_allclose([metric.value for metric in history], embedder.loss_curve_)
    run = client.get_run(run.info.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["alpha"] == "0.9"
    # skorch's artifacts, and a file of ours.
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"params.pth", "optimizer.pth", "history.json"} <= names
    folder = tmp_path / "runs" / run.info.experiment_id / run.info.run_id
    loaded = BCLEmbedder.load(folder / "artifacts" / "embedder.safetensors")
    assert_array_equal(loaded.transform(iris[0]), Z)
    assert_array_equal(joblib.load(_dumped(embedder)).transform(iris[0]), Z)


def _dumped(value):
    file = BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return file


# Other runtimes for the encoder


def table_case(iris):
    X = iris[0]
    return small().fit(X), X, X.astype(np.float32)


def mixed_case(iris):
    X = mixed_table(*iris)[["length", "width", "color"]]
    embedder = small().fit(X)
    codes = [embedder.categories_[0].index(value) for value in X["color"]]
    return embedder, X, X.assign(color=codes).to_numpy(np.float32)


def image_case(iris):
    embedder = small(encoder="convnet", augmentation=noise).fit(IMAGES)
    return embedder, IMAGES, IMAGES[:, None].astype(np.float32) / 255


CASES = [table_case, mixed_case, image_case]
needs_export = pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="needs a torch after 2.6"
)


def exported(embedder, rows):
    dynamic = ({0: torch.export.Dim("rows")},)
    example = torch.from_numpy(rows[:4])
    return torch.export.export(embedder.encoder_, (example,), dynamic_shapes=dynamic)


@pytest.mark.parametrize("case", CASES)
def test_encoder_is_a_module_of_float32_rows(iris, case):
    embedder, X, rows = case(iris)
    with torch.inference_mode():
        found = embedder.encoder_(torch.from_numpy(rows))
    assert_allclose(found, embedder.transform(X), rtol=1e-5, atol=1e-5)


@needs_export
# Of weights whose channels are last in memory. The loaded ones are right.
@pytest.mark.filterwarnings("ignore:No complete tensor found:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_torch_export(iris, case):
    embedder, X, rows = case(iris)
    program = exported(embedder, rows)
    file = BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for n_rows in (2, 3, len(rows)):
        found = module(torch.from_numpy(rows[:n_rows])).detach()
        assert_allclose(found, embedder.transform(X[:n_rows]), rtol=1e-5, atol=1e-5)


@needs_export
@pytest.mark.skipif(not LONG, reason="takes a while: SKLEARN_BCL_LONG=1")
def test_exported_encoder_needs_torch_only(iris, tmp_path):
    embedder, X, rows = mixed_case(iris)
    torch.export.save(exported(embedder, rows), tmp_path / "encoder.pt2")
    np.save(tmp_path / "rows.npy", rows)
    script = (
        "import sys\n"
        "sys.modules['sklearn_bcl'] = sys.modules['sklearn'] = None\n"
        "import numpy as np, torch\n"
        "encoder = torch.export.load('encoder.pt2').module()\n"
        "Z = encoder(torch.from_numpy(np.load('rows.npy'))).detach().numpy()\n"
        "np.save('Z.npy', Z)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "Z.npy")
    assert_allclose(found, embedder.transform(X), rtol=1e-5, atol=1e-5)


@needs_export
@pytest.mark.parametrize("case", CASES if LONG else [mixed_case])
def test_onnx(iris, case, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    embedder, X, rows = case(iris)
    path = str(tmp_path / "encoder.onnx")
    program = torch.onnx.export(
        exported(embedder, rows),
        dynamo=True,
        input_names=["rows"],
        output_names=["embedding"],
        verbose=False,
    )
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n_rows in (1, 3, len(rows)):
        (found,) = session.run(["embedding"], {"rows": rows[:n_rows]})
        assert_allclose(found, embedder.transform(X[:n_rows]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # which is deprecated
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of sizes of images
def test_traced(iris, case):
    embedder, X, rows = case(iris)
    traced = torch.jit.trace(embedder.encoder_, torch.from_numpy(rows[:4]))
    found = traced(torch.from_numpy(rows)).detach()
    assert_allclose(found, embedder.transform(X), rtol=1e-5, atol=1e-5)


@needs_export
@pytest.mark.parametrize("case", CASES if LONG else [mixed_case])
def test_compiled(iris, case):
    # The default backend needs a C++ compiler, and its time.
    backend = "inductor" if LONG else "eager"
    embedder, X, rows = case(iris)
    encoder = torch.compile(embedder.encoder_, backend=backend, fullgraph=True)
    with torch.no_grad():
        found = encoder(torch.from_numpy(rows))
    assert_allclose(found, embedder.transform(X), rtol=1e-5, atol=1e-5)
