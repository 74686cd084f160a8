import pickle

import pytest
import torch
from sklearn.base import clone

from sklearn_bcl.augmentations import (
    FeatureCorruption,
    FeatureMasking,
    GaussianNoise,
    ImageAugmentation,
)

EACH = pytest.mark.parametrize(
    "augmentation",
    [FeatureCorruption(0.4), FeatureMasking(0.4), GaussianNoise(0.4)],
    ids=lambda augmentation: type(augmentation).__name__,
)


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


@pytest.fixture
def x():
    x = torch.randn(2000, 5, generator=seeded(7))
    return x * torch.tensor([1.0, 10.0, 1e-6, 0.0, 1e6]) + torch.arange(5)


@EACH
def test_contract(augmentation, x):
    original = x.clone()
    global_state = torch.get_rng_state()
    view = augmentation(x, seeded())
    assert view.shape == x.shape
    assert view.dtype == x.dtype
    assert not torch.equal(view, x)
    assert torch.equal(x, original)
    assert torch.equal(view, augmentation(x, seeded()))
    assert not torch.equal(view, augmentation(x, seeded(1)))
    assert torch.equal(torch.get_rng_state(), global_state)
    for copy in (clone(augmentation), pickle.loads(pickle.dumps(augmentation))):
        assert torch.equal(view, copy(x, seeded()))


@pytest.mark.parametrize(
    ("augmentation", "shape"),
    [
        (FeatureCorruption(0.4), (50, 5)),
        (FeatureMasking(0.4), (50, 5)),
        (GaussianNoise(0.4), (50, 5)),
        (ImageAugmentation(), (10, 1, 12, 10)),
        (ImageAugmentation(), (10, 3, 12, 10)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_devices(augmentation, shape, device):
    x = torch.randn(shape, generator=seeded(7)).to(device)
    original = x.clone()
    view = augmentation(x, seeded(0, device))
    assert view.device == x.device
    assert view.shape == x.shape
    assert view.dtype == x.dtype
    assert view.isfinite().all()
    assert not torch.equal(view, x)
    assert torch.equal(x, original)
    assert torch.equal(view, augmentation(x, seeded(0, device)))
    assert not torch.equal(view, augmentation(x, seeded(1, device)))
    generator = seeded(0, device)
    views = [augmentation(x, generator) for _ in range(2)]
    assert torch.equal(views[0], view)
    assert not torch.equal(views[1], view)


@EACH
def test_strength_zero_changes_nothing(augmentation, x):
    (name,) = augmentation.get_params()
    assert torch.equal(clone(augmentation).set_params(**{name: 0})(x, seeded()), x)


@EACH
def test_constant_feature_stays(augmentation, x):
    assert torch.equal(augmentation(x, seeded())[:, 3], x[:, 3])


@pytest.mark.parametrize("augmentation_class", [FeatureCorruption, FeatureMasking])
def test_rate(augmentation_class, x):
    changed = augmentation_class(0.25)(x, seeded()) != x
    changed = changed[:, [0, 1, 2, 4]]
    assert abs(changed.float().mean() - 0.25) < 0.02
    # Values change independently of each other, also within a row.
    assert abs(changed.float().T.corrcoef().fill_diagonal_(0)).max() < 0.1


def test_corruption_draws_from_the_marginals():
    x = torch.stack([torch.arange(3000.0), torch.arange(3000.0) + 0.5], dim=1)
    view = FeatureCorruption(1.0)(x, seeded())
    for column in range(2):
        assert torch.isin(view[:, column], x[:, column]).all()
        assert abs(view[:, column].mean() / x[:, column].mean() - 1) < 0.05
    # Rows are broken up: the features of a view come from different rows.
    assert abs(view.T.corrcoef()[0, 1]) < 0.1


def test_noise_is_relative_to_the_spread(x):
    noise = GaussianNoise(0.5)(x, seeded()) - x
    ratio = noise.std(dim=0) / x.std(dim=0)
    assert torch.allclose(ratio[[0, 1, 2, 4]], torch.tensor(0.5), atol=0.1)


@EACH
@pytest.mark.parametrize("value", [-0.1, float("nan"), "a"])
def test_invalid_strength(augmentation, value, x):
    (name,) = augmentation.get_params()
    with pytest.raises(ValueError, match=f"'{name}' must be a float in the range"):
        clone(augmentation).set_params(**{name: value})(x, seeded())
