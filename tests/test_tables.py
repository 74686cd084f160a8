"""The estimator on tables with categories and missing values."""

import functools
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import small
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_bcl.augmentations import FeatureCorruption, FeatureMasking, GaussianNoise
from sklearn_bcl.encoders import MLPEncoder, TableEncoder

N_ROWS = 120


def make_table(n_rows=N_ROWS, seed=0):
    rng = np.random.RandomState(seed)
    age = rng.normal(40, 9, n_rows).astype(np.float32)
    age[rng.rand(n_rows) < 0.1] = np.nan
    color = rng.choice(["red", "green", "blue"], n_rows).astype(object)
    color[rng.rand(n_rows) < 0.2] = None
    city = rng.choice([f"city {i}" for i in range(40)], n_rows).astype(object)
    return pd.DataFrame(
        {
            "age": age,
            "color": color,
            "city": city,
            "member": rng.rand(n_rows) < 0.3,
            "count": rng.randint(0, 9, n_rows),
        }
    )


@pytest.fixture(scope="module")
def table():
    return make_table()


CATEGORIES = ["color", "city", "member"]


def as_codes(table):
    return np.column_stack(
        [
            pd.factorize(table[name])[0] if name in CATEGORIES else table[name]
            for name in table
        ]
    ).astype(float)


def test_the_same_data_in_other_containers(table):
    expected = small().fit_transform(table)
    assert expected.dtype == np.float32 and np.isfinite(expected).all()
    assert len(np.unique(expected, axis=0)) == N_ROWS
    lists = {name: [None if v != v else v for v in table[name]] for name in table}
    polars = pl.DataFrame(lists).cast({"age": pl.Float32})
    as_categories = {"color": "category", "city": "category", "member": "boolean"}
    codes = as_codes(table)
    codes[:, 1] = np.where(codes[:, 1] < 0, np.nan, 10 - 3 * codes[:, 1])
    for same in (
        table.astype(as_categories),
        table.convert_dtypes(),
        table.convert_dtypes(dtype_backend="pyarrow"),
        polars,
        polars.cast(
            {"color": pl.Categorical, "city": pl.Enum(sorted(set(lists["city"])))}
        ),
    ):
        embedder = small().fit(same)
        assert_array_equal(embedder.transform(same), expected)
        assert_array_equal(embedder.feature_names_in_, table.columns)
    for names in (CATEGORIES, [name in CATEGORIES for name in table]):
        embedder = small(categorical_features=names)
        assert_array_equal(embedder.fit_transform(table), expected)
    for same in (codes, codes.tolist(), table.to_numpy()):
        embedder = small(categorical_features=[1, 2, 3]).fit(same)
        assert_array_equal(embedder.transform(same), expected)
        assert not hasattr(embedder, "feature_names_in_")


@pytest.mark.parametrize(
    "augmentation", ["corruption", "masking", "noise", (None, "noise")]
)
def test_rows_of_any_size_and_pickles(table, augmentation):
    embedder = small(augmentation=augmentation, early_stopping=True).fit(table)
    expected = embedder.transform(table)
    assert np.isfinite(expected).all()
    parts = [embedder.transform(table[i : i + 7]) for i in range(0, N_ROWS, 7)]
    assert_array_equal(np.concatenate(parts), expected)
    copy = pickle.loads(pickle.dumps(embedder))
    assert_array_equal(copy.transform(table), expected)
    assert copy.score(table) == embedder.score(table)


def test_pairs_of_rows(table):
    embedder = small().fit(table)
    proba = embedder.true_negative_proba(table[:5], table[5:])
    assert proba.shape == (5, N_ROWS - 5)
    assert embedder.similarity(table).shape == (N_ROWS, N_ROWS)
    with pytest.raises(
        ValueError, match=r"'Y' cannot be candidates: The feature names"
    ):
        embedder.similarity(table, table[["age"]])


def test_pipelines_and_searches(table):
    y = (table["count"] > 4).to_numpy()
    pipeline = make_pipeline(small(), LogisticRegression())
    assert cross_val_score(pipeline, table, y, error_score="raise").mean() > 0.5
    grid = {
        "bclembedder__categorical_features": ["from_dtype", ["color", "city"]],
        "bclembedder__tau_plus": [0.1, 0.4],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(table, y)
    assert search.predict(table).shape == (N_ROWS,)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_output_and_names(table, library):
    embedder = small().set_output(transform=library).fit(table)
    embedding = embedder.transform(table)
    assert list(embedding.columns) == list(embedder.get_feature_names_out())
    assert embedder.n_features_in_ == 5


# Views


def draw(augmentation, x, categorical):
    generator = torch.Generator().manual_seed(0)
    return augmentation(x, generator, categorical=torch.tensor(categorical))


def test_masking_and_noise_leave_categories_valid():
    nan = float("nan")
    x = torch.tensor(
        [[0.0, 2.0, 0.0], [1.0, 2.0, nan], [4.0, 0.0, nan], [nan, nan, nan]]
    )
    masked = draw(FeatureMasking(rate=1.0), x, [False, True, True])
    assert_array_equal(masked, torch.tensor([[5 / 3, 2, nan]] * 4))
    noisy = draw(GaussianNoise(scale=0.5), x, [False, True, True])
    assert_array_equal(noisy[:, 1:], x[:, 1:])
    assert_array_equal(noisy[:, 0].isnan(), x[:, 0].isnan())
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 3, generator=generator)[:3, 0]
    spread = x[:3, 0].std(correction=0)
    torch.testing.assert_close(noisy[:3, 0], x[:3, 0] + 0.5 * spread * z)


def test_corruption_redraws_values_and_gaps_of_a_feature():
    nan = float("nan")
    x = torch.tensor([[0.0, nan], [1.0, 5.0], [2.0, 6.0], [1.0, nan]]).repeat(500, 1)
    view = FeatureCorruption(rate=1.0)(x, torch.Generator().manual_seed(0))
    assert view[:, 0].unique().tolist() == [0, 1, 2]
    assert 0.4 < view[:, 1].isnan().float().mean() < 0.6
    # Drawn apart from each other.
    assert 0.2 < view[view[:, 0] == 1, 1].isnan().float().mean() < 0.8


def test_an_own_augmentation_gets_codes(table):
    seen = {}

    def keep(x, generator):
        seen["rows"] = x.clone()
        return x + 0.0

    def ask(x, generator, categorical=None):
        seen["categorical"] = categorical
        return x + 0.0

    small(augmentation=(keep, ask), max_epochs=1, batch_size=N_ROWS).fit(table)
    rows = seen["rows"]
    assert rows.dtype == torch.float32
    assert rows[:, 0].isnan().sum() == table["age"].isna().sum()
    assert set(rows[:, 1].unique().tolist()) > {0, 1, 2}  # and NaN
    assert set(rows[:, 3].tolist()) == {0, 1}
    assert seen["categorical"].tolist() == [False, True, True, True, False]
    # Of numbers, there is nothing to tell.
    small(augmentation=ask, max_epochs=1).fit(table[["count"]])
    assert seen["categorical"] is None
    mine = functools.partial(ask, categorical="mine")
    small(augmentation=mine, max_epochs=1).fit(table)
    assert seen["categorical"] == "mine"


def test_an_own_augmentation_must_leave_codes_valid(table):
    match = r"'augmentation' must leave codes.*Column 'color' becomes.*'categorical'"
    for broken in (
        lambda x, generator: x + 0.1,
        lambda x, generator: x - 1,
        lambda x, generator: x + 50,
    ):
        with pytest.raises(ValueError, match=match):
            small(augmentation=broken).fit(table)
    # Rarely, it is seen too late: then codes stay within those of their column.
    embedder = small().fit(table)
    x = torch.tensor([[0.0, 1.0, 99.0, 0.0, 0.0], [0.0, 1.0, -9.0, 0.0, 0.0]])
    assert embedder.encoder_(x).isfinite().all()


# Encoders


class Own(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.linear = nn.Linear(n_features, 6)

    def fit_statistics(self, rows, random_state, before=None):
        assert len(rows) == N_ROWS
        self.measured = rows[:]
        self.before = before

    def forward(self, x):
        assert not x.isnan().any()
        return self.linear(x)


def test_an_own_encoder_gets_features(table):
    n_cities = table["city"].value_counts().gt(1).sum()
    # Two numbers, 3 colors, frequent cities and rare ones, yes and no, two indicators.
    embedder = small(encoder=Own(2 + 3 + n_cities + 1 + 2 + 2)).fit(table)
    encoder = embedder.encoder_
    assert isinstance(encoder, TableEncoder)
    features = encoder.encoder.measured.numpy()
    assert np.isfinite(features).all()
    missing = table["age"].isna().to_numpy()
    assert_array_equal(features[:, -2] > 0, missing)
    assert_array_equal(features[missing, 0], 0)
    assert embedder.transform(table).shape == (N_ROWS, 6)
    embedder.partial_fit(table)
    assert isinstance(embedder.encoder_.encoder.before, Own)


def test_an_own_encoder_of_numbers_gets_them_as_they_are(X):
    embedder = small(encoder=nn.Linear(5, 6)).fit(X)
    assert type(embedder.encoder_) is nn.Linear
    gaps = X.copy()
    gaps[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"Column 1: values are missing.*Fill them"):
        embedder.transform(gaps)
    # With gaps in fit, they are filled and marked.
    assert small(encoder=nn.Linear(6, 6)).fit_transform(gaps).shape == (100, 6)


def test_the_encoder_of_numbers_is_as_before(X):
    assert type(small().fit(X).encoder_) is MLPEncoder
    frame = pd.DataFrame(X).add_prefix("x")
    assert_array_equal(small().fit_transform(frame), small().fit_transform(X))


# Gaps


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, torch.from_numpy])
def test_arrays_with_gaps(X, container):
    gaps = X.copy()
    gaps[::3, 1] = np.nan
    expected = small().fit_transform(pd.DataFrame(gaps))
    assert np.isfinite(expected).all()
    assert_array_equal(small().fit_transform(container(gaps)), expected)


def test_a_gap_counts_as_the_median(X):
    embedder = small().fit(X)
    gap, filled = X[:2].copy(), X[:2].copy()
    gap[0, 3], filled[0, 3] = np.nan, np.median(X[:, 3])
    with pytest.warns(UserWarning, match="Column 3: values are missing, but none"):
        embedding = embedder.transform(gap)
    np.testing.assert_allclose(embedding, embedder.transform(filled), atol=1e-5)


def test_statistics_are_those_of_the_values_that_are_there(X):
    rows = np.concatenate([X, X])
    rows[100:, 2] = np.nan
    scale = small().fit(rows).encoder_.input.scale
    expected = small().fit(X).encoder_.scale
    np.testing.assert_allclose(scale.center[2], expected.center[2], rtol=1e-6)
    np.testing.assert_allclose(scale.scale[2], expected.scale[2], rtol=1e-6)


def test_an_augmentation_that_makes_gaps_is_found(X):
    def log(x, generator):
        low = x.amin(dim=0)
        return torch.where(x == low, torch.nan, x)

    frame = pd.DataFrame(X).add_prefix("x").assign(color=["red", "blue"] * 50)
    for rows in (X, frame.iloc[:, :5], frame):
        with pytest.raises(ValueError, match="'augmentation' must"):
            small(augmentation=log).fit(rows)


@pytest.mark.parametrize("augmentation", ["corruption", "masking", "noise"])
def test_a_gap_is_no_gap_of_the_whole_column(X, augmentation):
    # With gaps that were not there in fit, and in augmentations made of others.
    embedder = small(augmentation=augmentation, max_epochs=30).fit(X)
    gaps = X.copy()
    gaps[0] = np.nan
    with pytest.warns(UserWarning, match="values are missing"):
        score = embedder.score(gaps)
    assert score == pytest.approx(embedder.score(X), abs=0.05)
    part = embedder._model.net.augmentation[0]
    view = part(torch.from_numpy(gaps), torch.Generator().manual_seed(0))
    assert view.isnan().sum() < 20


def test_columns_that_were_empty_stay_so(X):
    gaps = X.copy()
    gaps[:, 1] = np.nan
    with pytest.warns(UserWarning, match="Column 1: all values are missing"):
        embedder = small().partial_fit(gaps)
    with pytest.warns(UserWarning, match="Column 1: all values were missing in fit"):
        embedder.partial_fit(X)


def test_what_was_read(table, X):
    embedder = small().fit(table)
    assert embedder.is_categorical_.tolist() == [False, True, True, True, False]
    first = [table["color"].dropna().iloc[0], table["member"].iloc[0]]
    assert [embedder.categories_[0][0], embedder.categories_[2][0]] == first
    assert len(embedder.categories_) == 3
    embedder.fit(X)
    assert not embedder.is_categorical_.any()
    assert embedder.categories_ == []
    images = np.random.RandomState(0).rand(8, 6, 6)
    embedder.set_params(encoder="mlp", augmentation="noise").fit(images)
    assert not hasattr(embedder, "is_categorical_")


# Several calls


def test_gaps_and_categories_that_come_later(table):
    first = table.assign(age=table["age"].fillna(40.0))
    embedder = small().partial_fit(first)
    later = table.assign(color="violet")
    with pytest.warns(UserWarning, match="values are missing, but none were in fit"):
        with pytest.warns(
            UserWarning, match="'color' has none of the frequent categories"
        ):
            embedder.partial_fit(later)
    assert np.isfinite(embedder.loss_curve_).all()
    with pytest.warns(UserWarning, match="values are missing"):
        assert np.isfinite(embedder.transform(table)).all()


def test_a_warm_start_keeps_the_categories(table):
    embedder = small(warm_start=True, max_epochs=1).fit(table)
    before = embedder.transform(table)
    embedder.set_params(categorical_features=CATEGORIES).fit(table)
    assert embedder.n_iter_ == 2
    embedder.set_params(categorical_features=["color"])
    with pytest.raises(ValueError, match=r"\['color'\] are other columns than those"):
        embedder.fit(table)
    again = clone(embedder).set_params(categorical_features="from_dtype").fit(table)
    assert_array_equal(again.transform(table), before)
    chosen = clone(embedder).set_params(categorical_features=CATEGORIES).fit(table)
    chosen.set_params(categorical_features="from_dtype")
    with pytest.raises(ValueError, match="'from_dtype' are other columns"):
        chosen.fit(table)


def test_a_failed_fit_leaves_the_estimator(table):
    embedder = small().fit(table)
    expected = embedder.transform(table)
    with pytest.raises(ValueError, match="holds dates"):
        embedder.fit(table.assign(age=pd.Timestamp("2020-01-01")))
    assert_array_equal(embedder.transform(table), expected)


def test_a_wrong_number_of_features_is_explained(table):
    with pytest.raises(ValueError, match=r"The 5 columns of the table make \d+ feat"):
        small(encoder=nn.Linear(5, 6)).fit(table)


def test_categories_of_images_cannot_act():
    images = np.random.RandomState(0).rand(8, 6, 6)
    small(encoder="mlp", categorical_features=None, augmentation="noise").fit(images)
    with pytest.raises(ValueError, match=r"'categorical_features' \[0\] cannot act"):
        small(encoder="mlp", categorical_features=[0], augmentation="noise").fit(images)


def test_nothing_warns_on_an_ordinary_table(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small().fit(table).transform(make_table(50, seed=1))
