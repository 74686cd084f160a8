import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bcl._data.labels import class_prior, read_labels

X = np.zeros((3, 2))


def read(y, rows=X):
    return read_labels(rows, y, asked_by="alpha='labels'")


@pytest.mark.parametrize(
    ("y", "expected", "dtype"),
    [
        # Integers are labels as they are.
        ([7, -1, 3], [7, -1, 3], np.int64),
        (np.array([7, 0, 3], dtype=np.uint8), [7, 0, 3], np.int64),
        (np.array([30, -1, 20], dtype=object), [30, -1, 20], np.int64),
        # Floats may be a target of a regression.
        ([7.0, -1.0, 3.0], [7, -1, 3], np.float32),
        (np.array([7, -1, 3], dtype=np.float16), [7, -1, 3], np.float32),
        ([0.5, -1.0, 2.0], [0.5, -1, 2], np.float32),
        # All else becomes codes, in the order of the labels.
        (["b", "-1", "a"], [1, -1, 0], np.int64),
        (["b", "b", "a"], [1, 1, 0], np.int64),
        (np.array(["b", -1, "a"], dtype=object), [1, -1, 0], np.int64),
        ([True, False, True], [1, 0, 1], np.int64),
        (pd.Series([7, -1, 3], index=[5, 6, 7]), [7, -1, 3], np.int64),
        (pd.Series(["b", "-1", "a"], dtype="category"), [1, -1, 0], np.int64),
    ],
)
def test_labels_become_numbers(y, expected, dtype):
    labels = read(y)
    assert_array_equal(labels, expected)
    assert labels.dtype == dtype


def test_labels_are_not_changed_in_place():
    y = np.array([7, -1, 3])
    read(y)[:] = 0
    assert_array_equal(y, [7, -1, 3])


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, r"^alpha='labels' needs labels: give y, with -1 for"),
        ([1.0, np.nan, 2.0], r"'y' has missing values\. alpha='labels' needs"),
        (np.array(["a", None, "b"], dtype=object), "'y' has missing values"),
        (np.array(["a", np.nan, "b"], dtype=object), "'y' has missing values"),
        (pd.Series([1, None, 2], dtype="Int64"), "'y' has missing values"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "'y' has missing values"),
        ([1, 2], "inconsistent numbers of samples"),
        ([[1, 2], [3, 4], [5, 6]], "y should be a 1d array"),
    ],
)
def test_invalid_labels(y, match):
    with pytest.raises(ValueError, match=match):
        read(y)


def test_class_prior():
    labels = np.array([0] * 5 + [3] * 3 + [4] * 2 + [-1] * 7)
    prior = class_prior(labels, asked_by="tau_plus='labels'")
    assert isinstance(prior, float)
    assert_allclose(prior, 0.5**2 + 0.3**2 + 0.2**2)
    # Two random rows, drawn with replacement, are of the same class as often.
    known = labels[labels != -1]
    assert_allclose(prior, (known[:, None] == known).mean())


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_the_fewest_labels_of_a_class_prior(dtype):
    labels = np.array([3, 3, 7, -1], dtype=dtype)
    assert_allclose(class_prior(labels, asked_by=""), 5 / 9)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (
            [1, 1, 1, -1],
            "^tau_plus='labels' needs labels of two classes.*Got 1 classes",
        ),
        ([1, 2, 3, -1], "two rows of one of them. Got 3 classes in 3 labeled"),
        ([-1, -1, -1], "Got 0 classes in 0 labeled"),
        (np.array([0.5, 0.5, 1.2]), "Unknown label type"),
    ],
)
def test_class_prior_needs_classes(labels, match):
    with pytest.raises(ValueError, match=match):
        class_prior(np.asarray(labels), asked_by="tau_plus='labels'")


@pytest.mark.parametrize(
    "y",
    [
        [np.inf, 1.0, 0.0],
        [-np.inf, 1.0, 0.0],
        [1e300, 1.0, 0.0],
        np.array([2**64 - 1, 1, 0], dtype=np.uint64),
        np.array([2**63, 1, 0], dtype=np.uint64),
        [-(2**63), 1, 0],
        [np.nextafter(np.finfo(np.float32).max, np.inf, dtype=float), 1.0, 0.0],
    ],
)
def test_labels_that_no_number_holds(y):
    with pytest.raises(ValueError, match="'y' must fit into"):
        read(y)


def test_the_largest_labels():
    most = np.iinfo(np.int64).max
    for y in ([most, -most, 0], np.array([most, 1, 0], dtype=np.uint64)):
        labels = read(y)
        assert labels.dtype == np.int64
        assert labels.tolist() == np.asarray(y).tolist()
    most = float(np.finfo(np.float32).max)
    assert read([most, -most, 0]).tolist() == [most, -most, 0]


def test_codes_that_have_to_stay_the_same():
    assert_array_equal(
        read_labels(X, [5, 6, 5], asked_by="", fixed_codes=True), [5, 6, 5]
    )
    with pytest.raises(ValueError, match=r"numbers in partial_fit.*'a'.*LabelEncoder"):
        read_labels(X, ["a", "b", "a"], asked_by="'loss' Own", fixed_codes=True)
