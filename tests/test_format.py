import pickle
import re
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bcl._data.columns import Columns
from sklearn_bcl._data.format import RowFormat


@pytest.fixture(scope="module")
def gray():
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, size=(40, 12, 10)).astype(np.uint8)


# Tables


def test_a_table(X):
    row_format, array = RowFormat.of(X)
    assert array is X or np.shares_memory(array, X)
    assert row_format == RowFormat((5,), columns=Columns(5))
    assert (row_format.n_features, row_format.encoder_shape) == (5, (5,))
    assert np.shares_memory(row_format.read(X[:1]), X)
    batch = torch.from_numpy(X[:2])
    assert row_format.decode(batch) is batch


def test_every_container_becomes_float32(X):
    row_format, _ = RowFormat.of(X)
    fortran = np.asfortranarray(X)
    grad = torch.from_numpy(X).double().requires_grad_()
    half = torch.from_numpy(X).bfloat16()
    for same in (X.tolist(), X.astype(">f4"), fortran, torch.from_numpy(X), grad):
        for array in (row_format.read(same), RowFormat.of(same)[1]):
            assert array.dtype == np.float32 and array.dtype.isnative
            assert array.flags.c_contiguous
            assert_array_equal(array, X)
    assert_allclose(row_format.read(half), X, rtol=0.01)
    integers = np.arange(10, dtype=np.uint8).reshape(2, 5)  # no images
    assert RowFormat.of(integers)[1].dtype == np.float32
    for make in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array):
        for array in (row_format.read(make(X)), RowFormat.of(make(X))[1]):
            assert array.format == "csr" and array.dtype == np.float32
            assert_array_equal(array.toarray(), X)


def test_tensors_come_from_every_device(X, device):
    rows = torch.from_numpy(X).to(device)
    row_format, array = RowFormat.of(rows)
    assert_array_equal(array, X)
    assert_array_equal(row_format.read(rows), X)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X[:, :3], "X has 3 features, but Mine is expecting 5 features"),
        (lambda X: X[:0], "0 sample.*minimum of 1 is required by Mine"),
        (lambda X: X[0], "Expected 2D array, got 1D array"),
        (
            lambda X: X[:, :, None],
            r"rows of shape \(5, 1\), but Mine was fitted on rows",
        ),
        (lambda X: X * np.nan, "Column 0, Column 1.*values are missing.*Fill them"),
        (lambda X: X.astype(np.float64) * 1e300, "Column 0 contains infinity"),
    ],
)
def test_rows_that_are_unlike_those_of_the_fit(X, change, match):
    row_format, _ = RowFormat.of(X, owner="Mine")
    with pytest.raises(ValueError, match=match):
        row_format.read(change(X))


def test_least_number_of_rows(X):
    row_format, _ = RowFormat.of(X[:1])
    for call in (RowFormat.of, row_format.read):
        with pytest.raises(ValueError, match="minimum of 2 is required by BCLEmbedder"):
            call(X[:1], min_rows=2)


def test_a_format_cannot_change(X, gray):
    formats = [
        RowFormat.of(X)[0],
        RowFormat.of(gray)[0],
        RowFormat.of(pd.DataFrame(X).add_prefix("x"))[0],
    ]
    for row_format in formats:
        with pytest.raises(FrozenInstanceError):
            row_format.row_shape = (3,)
        same = pickle.loads(pickle.dumps(row_format))
        assert same == row_format
        assert hash(same) == hash(row_format)
    assert len(set(formats)) == 3


# Names of columns


@pytest.fixture(params=["pandas", "polars"])
def frame(X, request):
    names = list("abcde")
    if request.param == "pandas":
        return pd.DataFrame(X, columns=names)
    return pl.DataFrame(X, schema=names)


def test_names_are_kept_and_compared(frame, X):
    row_format, array = RowFormat.of(frame, owner="Mine")
    assert row_format.feature_names == tuple("abcde")
    assert_array_equal(array, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(row_format.read(frame), X)
    with pytest.raises(ValueError, match="must be in the same order"):
        row_format.read(frame[list("bacde")])
    with pytest.raises(ValueError, match=r"seen at fit time, yet now missing:\n- e"):
        row_format.read(frame[list("abcd")])
    renamed = frame.rename(columns={"a": "z"}) if hasattr(frame, "iloc") else None
    if renamed is not None:
        with pytest.raises(ValueError, match=r"unseen at fit time:\n- z"):
            row_format.read(renamed)


def test_rows_without_names_are_read_with_a_warning(frame, X):
    named, _ = RowFormat.of(frame, owner="Mine")
    with pytest.warns(
        UserWarning, match="X does not have valid feature names, but Mine"
    ):
        assert_array_equal(named.read(X), X)
    nameless, _ = RowFormat.of(X, owner="Mine")
    assert nameless.feature_names is None
    with pytest.warns(UserWarning, match="X has feature names, but Mine was fitted"):
        assert_array_equal(nameless.read(frame), X)


def test_only_strings_are_names(X):
    assert RowFormat.of(pd.DataFrame(X))[0].feature_names is None
    mixed = pd.DataFrame(X, columns=["a", 1, "b", "c", "d"])
    with pytest.raises(TypeError, match="Feature names are only supported if all"):
        RowFormat.of(mixed)


# Images


@pytest.mark.parametrize(
    ("shape", "order", "result"),
    [
        ((12, 10), "auto", (1, 12, 10)),
        ((3, 12, 10), "auto", (3, 12, 10)),
        ((12, 10, 3), "auto", (3, 12, 10)),
        ((1, 12, 10), "auto", (1, 12, 10)),
        ((12, 10, 1), "auto", (1, 12, 10)),
        ((4, 12, 10), "auto", (4, 12, 10)),
        ((12, 10, 4), "auto", (4, 12, 10)),
        ((2, 10, 1), "auto", (1, 2, 10)),  # two channels are rare
        ((12, 10), "last", (1, 12, 10)),
        ((12, 10, 5), "last", (5, 12, 10)),
        ((3, 12, 3), "first", (3, 12, 3)),
        ((1, 12, 10), "last", (10, 1, 12)),
    ],
)
def test_layouts(shape, order, result):
    images = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    row_format, array = RowFormat.of(images, channel_order=order)
    assert np.shares_memory(array, images)
    assert row_format.encoder_shape == result
    assert row_format.n_features == np.prod(shape)
    batch = row_format.decode(torch.from_numpy(array))
    assert batch.shape == (2, *result)
    assert batch.dtype == torch.float32
    expected = images.reshape(2, *result)
    if row_format.layout.channels_last and len(shape) == 3:
        expected = np.moveaxis(images, 3, 1)
    assert_array_equal(batch, expected)
    flat, rows = RowFormat.of(
        images.reshape(2, -1), image_shape=shape, channel_order=order
    )
    assert rows.shape == (2, np.prod(shape))
    assert flat.encoder_shape == result
    assert_array_equal(flat.decode(torch.from_numpy(rows)), batch)


@pytest.mark.parametrize("image_shape", [None, (2, 2), [2, 2], np.array([2, 2])])
def test_uint8_becomes_the_unit_interval(image_shape):
    images = np.array([[[0, 51], [102, 255]]], dtype=np.uint8)
    if image_shape is not None:
        images = images.reshape(1, 4)
    row_format, array = RowFormat.of(images, image_shape=image_shape)
    assert array.dtype == np.uint8
    # A property of the fit: the same pixels in another dtype mean the same.
    for same in (images, images.astype(float), images.astype(int), images.tolist()):
        batch = row_format.decode(torch.from_numpy(row_format.read(same)))
        assert_allclose(batch[0, 0], [[0, 0.2], [0.4, 1]], rtol=1e-6)
    of_floats, _ = RowFormat.of(images.astype(float), image_shape=image_shape)
    batch = of_floats.decode(torch.from_numpy(of_floats.read(images)))
    assert_allclose(batch[0, 0], [[0, 51], [102, 255]])


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.uint8, np.uint8),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (np.int64, np.float32),
        (">u2", np.float32),
        (">f4", np.float32),
        (bool, np.float32),
    ],
)
def test_dtypes_of_images(gray, dtype, kept):
    images = gray.astype(dtype)
    flat = images.reshape(40, -1)
    for row_format, array in (
        RowFormat.of(images),
        RowFormat.of(flat, image_shape=(12, 10)),
    ):
        given = images if array.ndim == 3 else flat
        for read in (array, row_format.read(given)):
            assert read.dtype == kept and read.dtype.isnative
            assert_array_equal(read, given)
            assert np.shares_memory(read, given) == (given.dtype == kept)


def test_images_of_tensors(gray, device):
    for images in (torch.from_numpy(gray), torch.from_numpy(gray).float()):
        row_format, array = RowFormat.of(images.to(device))
        assert torch.from_numpy(array).dtype == images.dtype
        assert_array_equal(array, gray)
        assert_array_equal(row_format.read(images.to(device)), gray)
    tensor = torch.from_numpy(gray)
    assert np.shares_memory(RowFormat.of(tensor)[1], gray)


@pytest.mark.parametrize(
    ("row_shape", "image_shape", "match"),
    [
        ((3, 12, 3), None, "'channel_order' to 'first' or 'last'"),
        ((5, 12, 10), None, "not clear which axis"),
        ((2, 3, 12, 10), None, r"\(h, w\), \(c, h, w\) or \(h, w, c\)"),
        ((120,), (12, 11), r"'image_shape' \(12, 11\) does not fit rows of shape"),
        ((12, 10, 3), (3, 12, 10), r"'image_shape' \(3, 12, 10\) does not fit"),
        ((12, 10), (10, 12), r"'image_shape' \(10, 12\) does not fit"),
        ((120,), (12.0, 10), "An image must have the shape"),
        ((120,), (-12, -10), "An image must have the shape"),
        ((120,), (0, 10), "An image must have the shape"),
        ((4, 12, 1), None, "not clear which axis"),
        ((3, 12, 5, 2), (3, 12, 10), r"'image_shape' \(3, 12, 10\) does not fit"),
        ((12, 3), None, r"\(2, 12, 3\) looks like a single image with 3 channels"),
        ((12, 4), None, r"holds 2 images of that width, set image_shape=\(12, 4\)"),
        ((120,), (120,), "An image must have the shape"),
    ],
)
def test_invalid_layouts(row_shape, image_shape, match):
    with pytest.raises(ValueError, match=match):
        RowFormat.of(np.zeros((2, *row_shape)), image_shape=image_shape)


def square(*pixels):
    """Return two images of 2 x 2 pixels."""
    return np.resize(np.array(pixels), (2, 2, 2))


@pytest.mark.parametrize(
    ("pixels", "are_bytes"),
    [
        (square(0, 255), True),
        (square(0, 1), True),
        (square(7), True),
        (square(0, 256), False),
        (square(-1, 255), False),
        (square(0.0, 1.0), False),
        (square(0.0, 255.0), False),
        (square(False, True), False),
    ],
)
def test_lists_of_pixels_that_may_be_bytes(pixels, are_bytes):
    row_format, array = RowFormat.of(pixels.tolist())
    assert row_format.layout.are_bytes == are_bytes
    assert array.dtype == (np.uint8 if are_bytes else np.float32)
    assert_array_equal(array, pixels)
    assert not RowFormat.of(pixels)[0].layout.are_bytes
    assert_array_equal(row_format.read(pixels.tolist()), pixels)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.float32])
def test_pixels_that_are_bytes_beyond_doubt(dtype):
    row_format, _ = RowFormat.of(square(0, 255).astype(np.uint8))
    for pixels in (square(0, 255), square(1, 2), square(2)):
        read = row_format.read(pixels.astype(dtype))
        assert read.dtype == np.uint8
        assert_array_equal(read, pixels)
    no_bytes = [square(0, 256)]
    if dtype == np.float32:  # 0 and 1 may be the ends of the unit interval
        no_bytes += [square(0, 1), square(1), square(0, 2.5), square(-1, 255)]
    else:
        assert_array_equal(row_format.read(square(0, 1).astype(dtype)), square(0, 1))
    if dtype == np.int16:
        no_bytes += [square(-1, 255)]
    for pixels in no_bytes:
        match = rf"pixels of {np.dtype(dtype)}, up to {pixels.max():.3g}\. Give"
        with pytest.raises(ValueError, match=match):
            row_format.read(pixels.astype(dtype))
    with pytest.raises(ValueError, match="pixels of bool, up to 1"):
        row_format.read(square(False, True))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("largest", "warns"),
    [
        (100, False),
        (1000, False),
        (1001, True),
        (2, False),
        (1.99, True),
        (0.5, True),
        (0, False),
    ],
)
def test_how_far_the_largest_pixel_may_be_from_that_of_the_fit(largest, warns, sign):
    row_format, _ = RowFormat.of(square(0.0, -100.0 * sign))
    assert row_format.layout.largest == 100
    pixels = square(0.0, float(sign * largest))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert_array_equal(row_format.read(pixels), np.float32(pixels))
    match = f"The largest pixel of 'X' is {largest:.3g}, that of the fit was 100."
    assert [str(one.message).startswith(match) for one in seen] == [True] * warns


def test_pixels_that_are_too_large_for_float32():
    row_format, _ = RowFormat.of(square(0.0, 1.0))
    most = float(np.finfo(np.float32).max)
    with pytest.warns(UserWarning, match="largest pixel"):
        assert row_format.read(square(0.0, most)).max() == most
    with pytest.warns(UserWarning, match="largest pixel"):
        with pytest.raises(ValueError, match="too large for float32, 1e"):
            row_format.read(square(0.0, 1e39))


@pytest.mark.parametrize("largest", [1.1e-12, 9e11, 0.0])
def test_pixels_of_an_ordinary_size(largest):
    assert RowFormat.of(square(0.0, largest))[0].layout.largest == largest


@pytest.mark.parametrize("largest", [1e-12, 1e12, -1e12, 1e300])
def test_pixels_to_scale_first(largest):
    match = f"largest pixel of 'X' is {abs(largest):.3g}. Scale"
    with pytest.raises(ValueError, match=re.escape(match)):
        RowFormat.of(square(0.0, largest))


def test_bytes_where_the_fit_was_on_numbers():
    row_format, _ = RowFormat.of(square(0.0, 20.0))
    read = row_format.read(square(0, 200).astype(np.uint8))
    assert read.dtype == np.float32 and read.max() == 200
    for rows in (square(0, 201).astype(np.uint8), square(0, 201).tolist()):
        with pytest.raises(ValueError, match=r"up to 20\. 'X' has pixels of uint8"):
            row_format.read(rows)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X[:, None].repeat(3, axis=1), r"\(3, 12, 10\).*\(12, 10\)"),
        (lambda X: X[:, :11], r"\(11, 10\), but BCLEmbedder was fitted"),
        (lambda X: X[:, :, :, None], r"\(12, 10, 1\), but BCLEmbedder was fitted"),
        (lambda X: X.reshape(40, -1), r"\(120,\), but BCLEmbedder was fitted"),
        (lambda X: X * 1e300, "pixels of float64, up to"),
        (lambda X: X * np.nan, "NaN"),
    ],
)
def test_images_that_are_unlike_those_of_the_fit(gray, change, match):
    row_format, _ = RowFormat.of(gray)
    with pytest.raises(ValueError, match=match):
        row_format.read(change(gray))


def test_flat_rows_stay_flat(gray):
    row_format, _ = RowFormat.of(gray.reshape(40, -1), image_shape=(12, 10))
    with pytest.raises(ValueError, match="X has 119 features, but BCLEmbedder is exp"):
        row_format.read(gray.reshape(40, -1)[:, :119])
    with pytest.raises(ValueError, match=r"rows of shape \(12, 10\)"):
        row_format.read(gray)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        RowFormat.of(sparse.csr_array(gray.reshape(40, -1)), image_shape=(12, 10))


def test_named_pixels(gray):
    frame = pd.DataFrame(gray.reshape(40, -1)).add_prefix("pixel")
    row_format, array = RowFormat.of(frame, image_shape=(12, 10))
    assert array.dtype == np.uint8
    assert row_format.feature_names[:2] == ("pixel0", "pixel1")
    with pytest.raises(ValueError, match="must be in the same order"):
        row_format.read(frame[frame.columns[::-1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_without_gaps_take_a_short_way(dtype, monkeypatch):
    X = np.random.default_rng(0).normal(size=(6, 3))
    row_format, _ = RowFormat.of(X)
    expected = X.astype(np.float32)
    monkeypatch.setattr("sklearn_bcl._data.format.check_numbers", None)  # not called
    for rows in (X.astype(dtype), np.asfortranarray(X.astype(dtype))):
        read = row_format.read(rows)
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
        assert_array_equal(read, expected)


def test_the_short_way_lets_no_fault_pass():
    X = np.random.default_rng(0).normal(size=(6, 3))
    row_format, _ = RowFormat.of(X)
    for value in (np.inf, 1e300):
        with pytest.raises(ValueError, match="infinity"):
            row_format.read(np.where(X == X[2, 1], value, X))
    with pytest.raises(ValueError, match="missing"):
        row_format.read(np.where(X == X[2, 1], np.nan, X))
    with pytest.raises(ValueError, match="expecting 3 features"):
        row_format.read(X[:, :2])
    with pytest.raises(ValueError, match="minimum of 2"):
        row_format.read(X[:1], min_rows=2)


# What else may be asked of a format


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        (square(0, 255).astype(np.uint8), {}),
        (square(0, 255).tolist(), {}),
        (tuple(tuple(map(tuple, image)) for image in square(0, 255).tolist()), {}),
        (square(0, 255).reshape(2, 4).tolist(), {"image_shape": (2, 2)}),
        (pl.DataFrame(square(0, 255).astype(np.uint8).reshape(2, 4)), "named"),
        (pd.DataFrame(square(0, 255).astype(np.uint8).reshape(2, 4)), "named"),
    ],
)
def test_bytes_of_every_container(rows, layout):
    layout = {"image_shape": (2, 2)} if layout == "named" else layout
    row_format, array = RowFormat.of(rows, **layout)
    assert array.dtype == np.uint8
    assert row_format.n_features == 4
    assert row_format.encoder_shape == (1, 2, 2)
    assert_array_equal(row_format.read(rows), array)
    assert_array_equal(array.ravel(), square(0, 255).ravel())


def test_integers_of_lists_are_no_bytes_in_a_table():
    _, array = RowFormat.of([[0, 255], [7, 8]])
    assert array.dtype == np.float32


def test_strings_of_an_array_are_categories_where_chosen():
    X = np.array([["a", "x"], ["b", "y"], ["a", "y"]])
    _, array = RowFormat.of(X, categorical_features=[0, 1])
    assert_array_equal(array, [[0, 0], [1, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"^Column 1 holds 'x', which is no number"):
        RowFormat.of(X, categorical_features=[0])


@pytest.mark.parametrize(
    ("chosen", "same", "others"),
    [  # column 'c' is ignored, whatever it is
        ("from_dtype", [["a"], [0, 2]], [None, ["a", "b"], [1]]),
        (["a"], [[0], ["a", "c"]], ["from_dtype", None, ["a", "b"]]),
        (None, [[], ["c"], [False, False, True]], ["from_dtype", ["a"]]),
    ],
)
def test_categories_that_are_asked_for_again(chosen, same, others):
    a = [1, 2] if chosen is None else ["x", "y"]
    frame = pd.DataFrame({"a": a, "b": [1, 2], "c": [np.nan, None]})
    with pytest.warns(UserWarning, match="'c': all values are missing"):
        row_format, _ = RowFormat.of(frame, categorical_features=chosen)
    for again in (chosen, *same):
        row_format.check_columns(again)
    for other in others:
        with pytest.raises(ValueError, match="are other columns than those of the las"):
            row_format.check_columns(other)


def test_images_have_no_columns_to_ask_for(gray):
    RowFormat.of(gray)[0].check_columns([0])


def test_layouts_that_are_asked_for_again():
    images = np.arange(54.0).reshape(2, 3, 3, 3)
    row_format, _ = RowFormat.of(images, channel_order="last")
    row_format.check_layout(images, None, "last")
    row_format.check_layout(images[:1], (3, 3, 3), "last")
    flat = images.reshape(2, 27)
    for rows, shape, order in (
        (images, None, "first"),
        (images, (3, 3, 3), "first"),
        (flat, (3, 9), "last"),
        (flat, None, "last"),
    ):
        with pytest.raises(ValueError, match="make other images than those of the las"):
            row_format.check_layout(rows, shape, order)
    table, _ = RowFormat.of(flat)
    table.check_layout(flat, None, "auto")
    with pytest.raises(ValueError, match=r"'image_shape' \(3, 9\) and 'channel_order'"):
        table.check_layout(flat, (3, 9), "auto")


@pytest.mark.parametrize("dtype", [np.float16, np.int32, ">f8", bool, object])
def test_every_dtype_of_later_rows(X, dtype):
    row_format, _ = RowFormat.of(X)
    rows = (10 * X).astype(dtype)
    read = row_format.read(rows)
    assert read.dtype == np.float32 and read.dtype.isnative
    assert_array_equal(read, rows.astype(np.float32))


def test_later_rows_are_read_in_the_units_of_the_fit(X):
    for rows in (X * 1e-30, X.astype(np.float64) * 1e-300, X.astype(np.float64) + 1e9):
        row_format, expected = RowFormat.of(rows)
        assert len(row_format.columns.units.columns) == 5
        assert_array_equal(row_format.read(rows), expected)
        assert_array_equal(row_format.read(rows[:1]), expected[:1])


def test_gaps_may_be_new_where_others_were_there_in_fit(X):
    gaps = X.copy()
    gaps[0, 0] = np.nan
    row_format, _ = RowFormat.of(gaps)
    assert row_format.fills_gaps
    assert row_format.encoder_shape == (6,)
    gaps[1, 3] = np.nan
    with pytest.warns(UserWarning, match="^Column 3: .*as the median of the column"):
        assert_array_equal(row_format.read(gaps), gaps)
    assert not RowFormat.of(X)[0].fills_gaps
    assert RowFormat.of(X, fills_gaps=True)[0].fills_gaps


@pytest.mark.parametrize("library", [pd, pl])
def test_sizes_of_frames(library):
    frame = library.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    RowFormat.of(frame, min_rows=2)
    with pytest.raises(
        ValueError, match=r"2 sample.*shape=\(2, 2\).*minimum of 3 .*Mine"
    ):
        RowFormat.of(frame, min_rows=3, owner="Mine")
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 1 .* by BCLEmbedder"):
        RowFormat.of(frame[:0])
    RowFormat.of(frame[["a"]])
    with pytest.raises(ValueError, match=r"0 feature.*minimum of 1 is required by Min"):
        RowFormat.of(pd.DataFrame(index=range(2)), owner="Mine")


def test_the_first_column_out_of_order_is_named(X):
    frame = pd.DataFrame(X, columns=list("abcde"))
    row_format, _ = RowFormat.of(frame)
    with pytest.raises(ValueError, match="Column 'd' is where column 'c' was"):
        row_format.read(frame[list("abdce")])
