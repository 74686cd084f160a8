"""What rows may be, and what is said of all else."""

import pathlib
import threading
import warnings

import numpy as np
import pytest
import torch
from helpers import noise, small
from numpy.testing import assert_array_equal
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from sklearn_bcl import BCLEmbedder
from sklearn_bcl._data.arrays import as_array
from sklearn_bcl._data.format import RowFormat

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 5))
IMAGES = rng.randint(0, 256, (20, 8, 8, 3)).astype(np.uint8)


def of_images(**params):
    params = {"augmentation": noise, "max_epochs": 1, "random_state": 0, **params}
    return BCLEmbedder(32, **params)


SAME_IMAGES = {
    "list of arrays": list,
    "tuple of arrays": tuple,
    "PIL images": lambda images: [Image.fromarray(image) for image in images],
    "tensor": torch.from_numpy,
    "list of tensors": lambda images: [torch.from_numpy(image) for image in images],
    "nested lists": lambda images: images.tolist(),
    "read-only": lambda images: np.frombuffer(images.tobytes(), np.uint8).reshape(
        images.shape
    ),
    "in Fortran's order": np.asfortranarray,
}


@pytest.fixture(scope="module")
def fitted():
    return of_images().fit(IMAGES)


@pytest.mark.parametrize("kind", SAME_IMAGES)
def test_the_same_images_in_another_container(fitted, kind):
    same = SAME_IMAGES[kind](IMAGES)
    assert_array_equal(fitted.transform(same), fitted.transform(IMAGES))
    assert_array_equal(of_images().fit(same).transform(same), fitted.transform(IMAGES))


@pytest.mark.parametrize("dtype", [int, np.float32, float, ">i2", np.uint16])
def test_bytes_of_another_dtype_are_the_same_pixels(fitted, dtype):
    assert_array_equal(fitted.transform(IMAGES.astype(dtype)), fitted.transform(IMAGES))


@pytest.mark.parametrize(
    "change", [lambda x: x / 255, lambda x: x / 1.5, lambda x: x > 9]
)
def test_other_pixels_than_those_of_the_fit_are_an_error(fitted, change):
    with pytest.raises(ValueError, match=r"on images of uint8.*\(X \* 255\)"):
        fitted.transform(change(IMAGES))
    with pytest.raises(ValueError, match="on images of uint8"):
        of_images(warm_start=True).fit(IMAGES).fit(change(IMAGES))


def test_other_units_than_those_of_the_fit():
    embedder = of_images().fit(IMAGES / 255)
    with pytest.raises(ValueError, match=r"up to 1\. .* uint8\. Give X / 255"):
        embedder.transform(IMAGES)
    with pytest.warns(UserWarning, match=r"largest pixel of 'X' is 255, .* was 1\."):
        embedder.transform(IMAGES.astype(float))
    embedder = of_images().fit(IMAGES.astype(float))
    embedder.transform(IMAGES)  # in the same units
    with pytest.warns(UserWarning, match=r"largest pixel of 'X' is 1, .* was 255"):
        embedder.transform(IMAGES / 255)
    with pytest.raises(ValueError, match="Scale the images"):
        of_images().fit(IMAGES * 1e-30)


def test_lists_of_integers_that_are_no_bytes_stay_numbers():
    numbers = (IMAGES.astype(int) * 4).tolist()
    assert not of_images().fit(numbers)._model.format.layout.are_bytes


def generator_of_rows():
    yield from X


class Meta:
    """Something that is no array."""


REFUSED = {
    "nothing": (lambda: None, TypeError, "is None. Give rows"),
    "path": (lambda: "table.csv", TypeError, r"'table\.csv'.*read the file first"),
    "Path": (lambda: pathlib.Path("a.png"), TypeError, "read the file first"),
    "paths": (lambda: ["a.png", "b.png"], TypeError, r"'a\.png'.*PIL\.Image\.open"),
    "data loader": (
        lambda: DataLoader(TensorDataset(torch.from_numpy(X))),
        TypeError,
        r"is a DataLoader, whose rows.*map-style dataset",
    ),
    "generator": (generator_of_rows, TypeError, r"is a generator.*list\(X\)"),
    "set": (lambda: {1.0, 2.0}, TypeError, r"is a set.*list\(X\)"),
    "dict": (lambda: {"a": [1, 2]}, TypeError, r"is a dict.*pandas\.DataFrame\(X\)"),
    "number": (lambda: 3.0, TypeError, "is a float. Give an array"),
    "object": (Meta, TypeError, "is a Meta. Give an array"),
    "masked": (
        lambda: np.ma.masked_greater(X, 1),
        TypeError,
        r"mask would be lost.*filled\(",
    ),
    "structured": (
        lambda: np.zeros(5, dtype=[("a", float)]),
        ValueError,
        r"structured array.*pandas\.DataFrame",
    ),
    "sparse tensor": (
        lambda: torch.from_numpy(X).to_sparse(),
        TypeError,
        r"layout torch\.sparse_coo.*to_dense\(\)",
    ),
    "CSR tensor": (
        lambda: torch.from_numpy(X).to_sparse_csr(),
        TypeError,
        r"layout torch\.sparse_csr",
    ),
    "meta tensor": (
        lambda: torch.empty(4, 3, device="meta"),
        TypeError,
        "without values",
    ),
    "quantized": (
        lambda: torch.quantize_per_tensor(torch.ones(4, 3), 0.1, 0, torch.quint8),
        TypeError,
        "dequantize",
    ),
    "one row": (lambda: X[0], ValueError, "Reshape your data"),
    "a column of strings": (lambda: [["a"], ["b"]], ValueError, "Arrays hold numbers"),
    "ragged": (lambda: [[1.0, 2.0], [1.0]], ValueError, "rows of different lengths"),
    "a missing row": (lambda: [[1.0], None], ValueError, "no row at 1, but None"),
    "one image": (lambda: IMAGES[0], ValueError, r"single image.*X\[None\]"),
    "one PIL image": (
        lambda: Image.fromarray(IMAGES[0]),
        TypeError,
        r"single image\. Give a list",
    ),
    "mixed sizes": (
        lambda: [Image.fromarray(IMAGES[i][: 6 + i]) for i in range(2)],
        ValueError,
        r"different shapes, such as \(6, 8, 3\) and \(7, 8, 3\).*resize",
    ),
    "mixed modes": (
        lambda: [Image.fromarray(IMAGES[0]), Image.fromarray(IMAGES[1]).convert("L")],
        ValueError,
        r"modes L, RGB.*convert\('RGB'\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quant:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quant:DeprecationWarning")
def test_what_is_no_rows(kind):
    make, error, match = REFUSED[kind]
    with pytest.raises(error, match=match):
        small().fit(make())
    if kind not in ("one image", "one row"):
        embedder = small(max_epochs=1).fit(X)
        with pytest.raises(error, match=match):
            embedder.transform(make())


def test_a_single_image_of_a_fitted_shape(fitted):
    with pytest.raises(ValueError, match=r"If it is a single image, give X\[None\]"):
        fitted.transform(IMAGES[0])
    gray = of_images().fit(IMAGES[..., 0])
    with pytest.raises(ValueError, match=r"single image, give X\[None\]"):
        gray.transform(IMAGES[0, ..., 0])


def test_narrow_images_are_asked_for():
    narrow = IMAGES[:, :, :3, 0]
    assert of_images(image_shape=(8, 3)).fit(narrow).n_features_in_ == 24


def test_calls_in_threads_leave_the_filters_of_warnings_alone(fitted):
    embedder = small(max_epochs=1).fit(X)
    read_only = np.frombuffer(X.tobytes()).reshape(X.shape)
    before, errors = list(warnings.filters), []

    def work():
        try:
            for _ in range(60):
                embedder.transform(read_only)
                embedder.transform(X.tolist())
                embedder.transform(X.astype(object))
                fitted.transform(IMAGES[:2])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert list(warnings.filters) == before


def test_only_python_s_integers_may_be_bytes():
    images = IMAGES.astype(int)
    expected = of_images().fit(images).transform(images)
    for same in (list(images), [torch.from_numpy(image) for image in images]):
        assert_array_equal(of_images().fit(same).transform(same), expected)


@pytest.mark.parametrize("modes", ["P", "CMYK", "LA", ("L", "P"), ("RGB", "HSV")])
def test_modes_of_images_whose_values_are_no_pixels(modes):
    modes = (modes, modes) if isinstance(modes, str) else modes
    images = [Image.fromarray(IMAGES[i]).convert(mode) for i, mode in enumerate(modes)]
    with pytest.raises(ValueError, match=r"images of the modes.*convert\('RGB'\)"):
        of_images().fit(images)


def test_long_floats_that_are_too_long():
    with pytest.raises(ValueError, match="infinity"):
        small().fit(np.full((5, 2), 1e300, dtype=np.longdouble) * [1, 1e200])


# What rows become


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda x: x.bfloat16(), np.float32),
        (lambda x: x.half(), np.float32),
        (lambda x: x.to(torch.float8_e5m2), np.float32),
        (lambda x: x.float(), np.float32),
        (lambda x: x.double(), np.float64),
        (lambda x: x.char(), np.int8),
        (lambda x: x > 1, np.bool_),
        (lambda x: torch.nn.Parameter(x.float()), np.float32),
        (lambda x: torch.complex(0 * x, -x).conj().imag, np.float32),  # a lazy minus
        (lambda x: torch.complex(x, x).conj(), np.complex64),
    ],
)
@pytest.mark.parametrize("container", [lambda x: x, list])
def test_tensors_become_arrays_of_numpy(make, dtype, container):
    x = torch.arange(4.0).view(2, 2)
    array = as_array(container(make(x)))
    assert type(array) is np.ndarray
    assert array.dtype == dtype
    assert_array_equal(array, make(x).detach().to(torch.complex64).resolve_conj())


class Wrapped:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return X.astype(dtype or X.dtype)


class WrappedSequence(Wrapped, list):
    """Another one, whose rows can be iterated over."""


@pytest.mark.parametrize("wrap", [Wrapped, WrappedSequence])
def test_arrays_of_another_library(wrap):
    assert_array_equal(as_array(wrap()), X)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "I", "F", "I;16"])
def test_modes_of_images_whose_values_are_pixels(mode):
    image = Image.new(mode, (6, 5))
    assert as_array([image] * 2).shape[:3] == (2, 5, 6)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([b"a.png"], r"paths or strings, such as b'a\.png'"),
        ([pathlib.Path("a.png")], "paths or strings, such as"),
        (b"a.png", r"'X' is b'a\.png'"),
    ],
)
def test_rows_of_a_wrong_type(rows, match):
    with pytest.raises(TypeError, match=match):
        as_array(rows)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([None, [1.0]], "'X' has no row at 0, but None"),
        ([X[0], X[0, :3], X[0, :4]], r"such as \(3,\) and \(4,\)"),
        ([[1.0], [1.0, 2.0]], "different lengths.* inhomogeneous"),
        ([[1.0, [2.0]], [1.0, 2.0]], "different lengths.* inhomogeneous"),
    ],
)
def test_rows_that_are_not_alike(rows, match):
    with pytest.raises(ValueError, match=match):
        as_array(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [["1", "2.5"], ["3", "nan"]],
        np.array([["1", "2.5"], ["3", "nan"]]),
        np.array([[b"1", b"2.5"], [b"3", b"nan"]]),
        np.array([["1", 2.5], [3, None]], dtype=object),
        np.array([[1, 2.5], [3, np.nan]], dtype=np.longdouble),
    ],
)
def test_numbers_of_any_type(rows):
    _, array = RowFormat.of(rows)
    assert array.dtype == np.float32
    assert_array_equal(array, [[1, 2.5], [3, np.nan]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, object])
def test_pixels_are_never_missing(value, dtype):
    images = IMAGES[..., 0].astype(dtype)
    images[3, 2, 1] = value
    match = r"(?s)Input X contains (NaN|infinity).*"
    match += "Mine does not accept" if value in (None, np.nan) else "too large"
    with pytest.raises(ValueError, match=match):
        RowFormat.of(images, owner="Mine")


def test_pixels_whose_sum_is_too_large():
    images = IMAGES[..., 0].astype(np.float64)
    images[0, 0, :2] = 1e11, -1e11
    row_format, _ = RowFormat.of(images)
    with pytest.warns(UserWarning, match="largest pixel"):
        with pytest.raises(ValueError, match=r"too large for float32, 1\.7e\+308"):
            row_format.read(np.full((2, 8, 8), 1.7e308))


@pytest.mark.parametrize(
    ("rows", "image_shape", "match"),
    [
        (X[:0], None, "0 sample.*minimum of 1 is required by Mine"),
        (X[:, :0], None, "0 feature.*minimum of 1 is required by Mine"),
        ([], None, "Expected 2D array, got 1D array"),
        (np.float64(3), None, "Expected 2D array, got scalar array"),
        (X[:0], (1, 5), "0 sample.*minimum of 1 is required by Mine"),
        (IMAGES[:0], None, "0 sample.*minimum of 1 is required by Mine"),
        (X * 1j, None, "Complex data not supported"),
        (X.astype("U9").astype(object) + "x", None, "Arrays hold numbers"),
    ],
)
def test_too_few_rows_or_columns(rows, image_shape, match):
    with pytest.raises(ValueError, match=f"(?s){match}"):
        RowFormat.of(rows, image_shape=image_shape, owner="Mine")
