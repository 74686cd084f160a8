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
    "dataset": (
        lambda: TensorDataset(torch.from_numpy(X)),
        TypeError,
        r"is a TensorDataset.*dataset\.tensors\[0\]",
    ),
    "data loader": (
        lambda: DataLoader(TensorDataset(torch.from_numpy(X))),
        TypeError,
        "is a DataLoader. Give its rows",
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
