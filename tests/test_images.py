"""Images: layouts, encoders, augmentation, and the estimator on top of them."""

import pickle
import sys

import numpy as np
import pytest
import torch
from helpers import noise, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from sklearn_bcl.augmentations import ImageAugmentation
from sklearn_bcl.encoders import ConvNetEncoder, ProjectedEncoder, resnet_encoder


def one_epoch(**params):
    encoder = params.pop("encoder", "convnet")
    return small(encoder=encoder, **{"batch_size": 16, "max_epochs": 1, **params})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def gray():
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, size=(40, 12, 10)).astype(np.uint8)


# Encoders


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 5, 9)])
@pytest.mark.parametrize(
    ("size", "grid"), [(2048, 4), (256, 4), (64, 2), (100, 2), (60, 1), (1, 1)]
)
def test_convnet(shape, size, grid):
    torch.manual_seed(0)
    encoder = ConvNetEncoder(shape, size, widths=(4, 8))
    assert encoder.grid == grid
    x = torch.rand(64, *shape)
    blocks, embedding = encoder.blocks(x).detach(), encoder(x).detach()
    # torch's adaptive pooling, whose gradient is not deterministic on a GPU
    cells = nn.AdaptiveAvgPool2d(grid)(blocks).flatten(1)
    assert embedding.shape == (64, size)
    assert_allclose(embedding, (cells + 0.01).sqrt() - 0.1, atol=1e-6)
    # Also of small images, each part of the grid has something of its own to say.
    assert len(torch.unique(embedding, dim=1).T) > 0.99 * size  # some ReLUs are dead


@pytest.mark.parametrize(
    ("side", "last"), [(28, 4), (32, 4), (96, 12), (20, 5), (3, 3)]
)
def test_convnet_halves_while_four_positions_are_left(side, last):
    blocks = ConvNetEncoder((1, side, side), 16).blocks(torch.rand(1, 1, side, side))
    assert blocks.shape[2:] == (last, last)


def test_convnet_projects_what_it_takes_the_root_of():
    encoder = ConvNetEncoder((1, 8, 8), 64).eval()
    module, x = ProjectedEncoder(encoder, 64, 16), torch.rand(4, 1, 8, 8)
    assert torch.equal(module(x), module.head(encoder.cells(x)))

    class Normalized(ConvNetEncoder):
        def forward(self, x):
            return nn.functional.normalize(super().forward(x))

    own = Normalized((1, 8, 8), 64).eval()
    module = ProjectedEncoder(own, 64, 16)
    assert torch.equal(module(x), module.head(own(x)))
    # Dead features have a gradient of 0 if somebody trains the encoder on.
    encoder(torch.zeros(2, 1, 8, 8)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_convnet_of_a_single_line():
    assert ConvNetEncoder((1, 1, 9), 256)(torch.rand(3, 1, 1, 9)).shape == (3, 256)
    assert one_epoch(n_components=64).fit_transform(np.ones((8, 1, 9))).shape == (8, 64)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 512), ("resnet50", 2048)])
def test_resnet(name, size):
    encoder = resnet_encoder(name, n_channels=2).eval()
    assert encoder(torch.rand(2, 2, 16, 16)).shape == (2, size)
    # The stem keeps the resolution: the last block sees an eighth of it.
    assert encoder.maxpool(encoder.conv1(torch.rand(1, 2, 16, 16))).shape[2:] == (
        16,
        16,
    )


def test_unknown_resnet():
    with pytest.raises(ValueError, match="must be 'resnet18' or 'resnet50'"):
        resnet_encoder("resnet34", n_channels=3)


# Augmentation


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-3, 2)])
def test_views_keep_shape_and_range(n_channels, low, high):
    x = low + (high - low) * torch.rand(20, n_channels, 12, 10, generator=seeded(1))
    original, state = x.clone(), torch.get_rng_state()
    augmentation = ImageAugmentation()
    view = augmentation(x, seeded())
    assert view.shape == x.shape
    assert view.dtype == x.dtype
    assert torch.equal(x, original)
    assert view.min() >= x.min() - 1e-4 * (high - low)
    assert view.max() <= x.max() + 1e-4 * (high - low)
    assert not torch.equal(view, x)
    for copy in (clone(augmentation), pickle.loads(pickle.dumps(augmentation))):
        assert torch.equal(copy(x, seeded()), view)
    assert not torch.equal(augmentation(x, seeded(1)), view)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_has_its_own_draw():
    x = torch.rand(1, 3, 12, 10, generator=seeded()).repeat(10, 1, 1, 1)
    view = ImageAugmentation()(x, seeded())
    assert len(torch.unique(view.flatten(1), dim=0)) == 10


def test_successive_views_differ():
    x, generator = torch.rand(4, 1, 12, 10), seeded()
    augmentation = ImageAugmentation()
    assert not torch.equal(augmentation(x, generator), augmentation(x, generator))


def test_strength_zero_changes_nothing():
    x = torch.rand(5, 3, 12, 10)
    augmentation = ImageAugmentation(
        crop_scale=1, flip=0, jitter=0, grayscale=0, blur=0
    )
    assert_allclose(augmentation(x, seeded()), x, atol=1e-6)


def test_single_operations():
    x = torch.rand(5, 3, 12, 10)
    off = {"crop_scale": 1, "flip": 0, "jitter": 0, "grayscale": 0, "blur": 0}
    flipped = ImageAugmentation(**{**off, "flip": 1})(x, seeded())
    assert_allclose(flipped, x.flip(3), atol=1e-6)
    gray = ImageAugmentation(**{**off, "grayscale": 1})(x, seeded())
    assert_allclose(gray[:, 0], gray[:, 2], atol=1e-6)


@pytest.mark.parametrize("flip", [0, 0.5])
def test_crops(flip):
    """Each pixel holds its column and its row, from 0 to 1."""
    height, width = 40, 30
    column, row = torch.linspace(0, 1, width), torch.linspace(0, 1, height)
    image = torch.stack([column.expand(height, -1), row[:, None].expand(-1, width)])
    off = {"jitter": 0, "grayscale": 0, "blur": 0}
    augmentation = ImageAugmentation(crop_scale=0.3, flip=flip, **off)
    view = augmentation(image.repeat(2000, 1, 1, 1), seeded())
    inside = view[:, :, 5:-5, 5:-5]  # the outer half pixel is repeated at a border
    across = inside[:, 0, 0].diff(dim=1).mean(dim=1) * (width - 1)
    down = inside[:, 1, :, 0].diff(dim=1).mean(dim=1) * (height - 1)
    assert torch.allclose(inside[:, 0, 0], inside[:, 0, -1], atol=1e-5)
    area, ratio = across.abs() * down, across.abs() * width / (down * height)
    assert 0.28 < area.min() < 0.35
    assert 0.95 < area.max() <= 1.001
    fits = (across.abs() < 0.99) & (down < 0.99)
    assert 0.75 - 1e-3 < ratio[fits].min() < 0.8
    assert 1.25 < ratio[fits].max() < 4 / 3 + 1e-3
    assert abs((across < 0).float().mean() - flip) < 0.05
    assert view.amin() >= 0
    assert view.amax() <= 1
    for channel, size in enumerate((across.abs(), down)):
        place = (inside[:, channel].mean(dim=(1, 2)) - 0.5) / (1 - size)
        assert abs(place[size < 0.9].std() - 12**-0.5) < 0.03  # uniform


@pytest.mark.parametrize("n_channels", [1, 2, 4])
def test_jitter_without_colors(n_channels):
    """Brightness scales, contrast scales around the image's own mean."""
    x = torch.rand(100, n_channels, 4, 4, generator=seeded()) * 0.2 + 0.4
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0, 1  # the range, so that little is clipped
    off = {"crop_scale": 1, "flip": 0, "grayscale": 0, "blur": 0}
    view = ImageAugmentation(jitter=0.4, **off)(x, seeded())[1:].flatten(1)
    before = x[1:].flatten(1)
    means, means_before = view.mean(dim=1), before.mean(dim=1)
    slopes = view.std(dim=1) / before.std(dim=1)
    # view = contrast * brightness * x + (1 - contrast) * brightness * mean
    brightness = means / means_before
    expected = means[:, None] + slopes[:, None] * (before - means_before[:, None])
    assert_allclose(view, expected, atol=1e-5)
    for factors in (brightness, slopes / brightness):
        assert 0.6 - 1e-4 <= factors.min() < 0.7
        assert 1.3 < factors.max() <= 1.4 + 1e-4
    unchanged = (view - before).abs().amax(dim=1) < 1e-6
    assert 0.1 < unchanged.float().mean() < 0.3  # applied with probability 0.8


@pytest.mark.parametrize(
    "params", [{"crop_scale": 0}, {"flip": 2}, {"jitter": -1}, {"blur": "much"}]
)
def test_invalid_strengths(params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' must be"):
        ImageAugmentation(**params)(torch.rand(2, 3, 8, 8), seeded())


def test_tables_are_no_images():
    with pytest.raises(ValueError, match="needs images of shape"):
        ImageAugmentation()(torch.rand(2, 3), seeded())


# The estimator


def test_every_container_gives_the_same_embedding(gray):
    expected = one_epoch().fit_transform(gray)
    assert expected.shape == (40, 8)
    assert expected.dtype == np.float32
    for images in (gray[:, None], gray[..., None], gray.tolist(), gray / 255):
        images = images if not isinstance(images, list) else np.array(images, np.uint8)
        embedding = one_epoch().fit_transform(images)
        assert_allclose(embedding, expected, rtol=1e-3, atol=1e-4)
    assert_array_equal(one_epoch().fit_transform(torch.from_numpy(gray)), expected)
    flat = one_epoch(image_shape=(12, 10)).fit(gray.reshape(40, -1))
    assert_array_equal(flat.transform(gray.reshape(40, -1)), expected)


def test_images_are_kept_in_their_dtype(gray):
    embedder = one_epoch().fit(gray)
    rows = embedder._model.rows(gray)
    assert rows.data.dtype == torch.uint8
    assert rows.data.data_ptr() == gray.ctypes.data


def test_transform_in_another_dtype(gray):
    embedder = one_epoch().fit(gray)
    expected = embedder.transform(gray)
    for dtype in (np.int64, np.float32, np.float64, ">u2", ">f4"):
        assert_allclose(embedder.transform(gray.astype(dtype)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="pixels of float64, up to"):
        embedder.transform(gray * 1e300)


def test_fitted_attributes(gray):
    embedder = one_epoch().fit(gray)
    assert embedder.n_features_in_ == 120
    assert len(embedder.get_feature_names_out()) == 8
    assert embedder.score(gray) < 0
    assert_array_equal(
        pickle.loads(pickle.dumps(embedder)).transform(gray), embedder.transform(gray)
    )


def test_in_a_pipeline_behind_a_flat_step(gray):
    model = make_pipeline(MinMaxScaler(), one_epoch(image_shape=(12, 10)))
    assert model.fit_transform(gray.reshape(40, -1)).shape == (40, 8)


def factory():
    return nn.Sequential(nn.Flatten(), nn.Linear(120, 6))


@pytest.mark.parametrize(
    ("encoder", "size"),
    [
        ("mlp", 8),
        ("convnet", 8),
        ("resnet18", 512),
        (factory, 6),
        (factory(), 6),
    ],
)
def test_encoders(gray, encoder, size):
    embedder = one_epoch(encoder=encoder, augmentation=noise)
    embedding = embedder.fit_transform(gray)
    assert embedding.shape == (40, size)
    assert_array_equal(clone(embedder).fit_transform(gray).shape, embedding.shape)
    assert_array_equal(embedder.transform(gray), embedding)


@pytest.mark.parametrize(("encoder", "size"), [("auto", 2048), ("mlp", 256)])
def test_default_size(gray, encoder, size):
    embedder = one_epoch(encoder=encoder, n_components="auto", augmentation=noise)
    embedder.set_params(hidden_layer_sizes=(256, 256))
    embedding = embedder.fit_transform(gray)
    assert embedding.shape == (40, size)
    assert_allclose(embedder.transform(gray[:3]), embedding[:3], rtol=1e-4, atol=1e-6)
    copy = pickle.loads(pickle.dumps(embedder))
    assert_array_equal(copy.transform(gray), embedding)
    assert copy.partial_fit(gray).n_iter_ == 2


def test_encoder_factories_are_seeded(gray):
    embedder = one_epoch(encoder=factory, augmentation="noise")
    assert_array_equal(
        embedder.fit_transform(gray), clone(embedder).fit_transform(gray)
    )


def test_chunks_give_the_same_embedding(gray):
    embedder = one_epoch().fit(gray)
    expected = embedder.transform(gray)
    chunks = [embedder.transform(gray[i : i + 7]) for i in range(0, 40, 7)]
    assert_allclose(np.concatenate(chunks), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X[:, None].repeat(3, axis=1), r"\(3, 12, 10\).*\(12, 10\)"),
        (lambda X: X[:, :11], r"\(11, 10\), but BCLEmbedder was fitted"),
        (lambda X: X.reshape(40, -1), "X has 120 features|shape"),
    ],
)
def test_changed_shapes_are_refused(gray, change, match):
    embedder = one_epoch(augmentation=noise).fit(gray)
    with pytest.raises(ValueError, match=match):
        embedder.transform(change(gray))
    with pytest.raises(ValueError, match=match):
        embedder.partial_fit(change(gray))


@pytest.mark.parametrize(
    "change",
    [
        {"image_shape": (1, 20, 6)},
        {"channel_order": "last"},
        {"image_shape": None, "channel_order": "auto"},
    ],
)
def test_a_fit_that_goes_on_keeps_the_images(gray, change):
    flat = gray.reshape(40, -1)
    params = {"augmentation": "noise", "encoder": "mlp", "warm_start": True}
    embedder = one_epoch(image_shape=(1, 12, 10), channel_order="first", **params)
    embedder.fit(flat).set_params(**change)
    for goes_on in (embedder.fit, embedder.partial_fit):
        with pytest.raises(ValueError, match="other images than those of the last"):
            goes_on(flat)


@pytest.mark.parametrize(
    ("params", "shape", "match"),
    [
        ({}, (40, 2, 3, 4, 5), "An image must have the shape"),
        ({"encoder": "convnet"}, (40, 12), "'encoder' 'convnet' needs images"),
        ({"augmentation": "images"}, (40, 12), "ImageAugmentation needs images"),
        ({"encoder": nn.Linear(3, 2)}, (40, 12, 10), "'encoder' fails on rows"),
        ({"image_shape": (5, 5)}, (40, 12), "'image_shape'"),
        ({"channel_order": "last"}, (40, 12, 10), "'channel_order' 'last' cannot act"),
    ],
)
def test_invalid_use(params, shape, match):
    X = np.random.RandomState(0).uniform(size=shape)
    with pytest.raises(ValueError, match=match):
        one_epoch(**params).fit(X)


@pytest.mark.parametrize(
    ("package", "params"),
    [("kornia.augmentation", {}), ("torchvision", {"encoder": "resnet18"})],
)
def test_missing_extra(gray, monkeypatch, package, params):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-bcl\[vision\]'"):
        one_epoch(**params).fit(gray)
