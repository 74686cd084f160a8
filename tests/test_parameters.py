"""What parameters ask of each other, of the views and of the labels."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers import noise, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

from sklearn_bcl.augmentations import FeatureCorruption
from sklearn_bcl.callbacks import MeasuredAlpha
from sklearn_bcl.losses import BCLLoss


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"loss": BCLLoss(), "tau_plus": 0.4}, "'tau_plus' 0.4 cannot act: 'loss' BCL"),
        ({"loss": BCLLoss(), "temperature": 0.4}, "'temperature' 0.4 cannot act"),
        ({"loss": "simclr", "tau_plus": 0.4}, "'loss' 'simclr' has none.*default, 0.1"),
        ({"loss": "simclr", "tau_plus": "labels"}, "'tau_plus' 'labels' cannot act"),
        ({"loss": "dcl", "alpha": 0.8}, "'alpha' 0.8 cannot act"),
        ({"loss": "hcl", "beta": 0.8}, "'beta' 0.8 cannot act"),
        ({"alpha": 0.8, "callbacks": [MeasuredAlpha()]}, "MeasuredAlpha among"),
        (
            {"encoder": nn.Linear(5, 4), "n_components": 3},
            "'n_components' 3 cannot act",
        ),
        (
            {"encoder": nn.Linear(5, 4), "hidden_layer_sizes": (4,)},
            r"'hidden_layer_sizes' \(4,\) cannot act",
        ),
        ({"channel_order": "last"}, "'channel_order' 'last' cannot act: .* table"),
        ({"tol": 0.1}, "'tol' 0.1 cannot act: early_stopping is False"),
        ({"n_iter_no_change": 3}, "'n_iter_no_change' 3 cannot act"),
        ({"validation_fraction": 0.3}, "'validation_fraction' 0.3 cannot act"),
        ({"optimizer": torch.optim.Rprop, "weight_decay": 0.1}, "'weight_decay' 0.1"),
    ],
)
def test_a_parameter_that_cannot_act_is_an_error(X, params, match):
    with pytest.raises(ValueError, match=match):
        small(**params).fit(X, np.arange(100) % 2)


def test_what_changes_nothing_is_no_error(X):
    small(loss="simclr", tau_plus=np.float32(0.1)).fit(X)
    small(optimizer=torch.optim.Rprop, weight_decay=0).fit(X)


def test_weight_decay_that_is_set_already(X):
    optimizer = partial(torch.optim.AdamW, weight_decay=0.1)
    (group,) = small(optimizer=optimizer).fit(X)._model.net.optimizer_.param_groups
    assert group["weight_decay"] == 0.1
    with pytest.raises(ValueError, match=r"'weight_decay' 0\.2 cannot act"):
        small(optimizer=optimizer, weight_decay=0.2).fit(X)


def test_a_default_that_cannot_act_is_none(X):
    small(loss="simclr", tau_plus=0.1).fit(X)
    small(encoder=nn.Linear(5, 4), hidden_layer_sizes=[256, 256]).fit(X)


def test_a_pair_of_augmentations(X):
    both = small(augmentation="corruption").fit_transform(X)
    pair = small(augmentation=("corruption", FeatureCorruption()))
    assert_array_equal(pair.fit_transform(X), both)
    one_view = small(augmentation=["corruption", None])
    assert_array_equal(one_view.fit_transform(X), clone(one_view).fit_transform(X))
    assert not np.array_equal(one_view.transform(X), both)


def test_views_are_those_of_the_pair(X):
    seen = []

    class Views(nn.Module):
        def forward(self, z1, z2):
            seen.append((z1, z2))
            return (z1 - z2).square().mean()

    shift = 1000 * torch.ones(5)
    embedder = small(
        augmentation=(None, lambda x, generator: x + shift),
        loss=Views(),
        encoder=nn.Identity(),
        max_epochs=1,
        learning_rate=1e-20,
        batch_size=100,
    ).fit(X)
    z1, z2 = (z.detach() for z in seen[-1])
    head = embedder._model.net.module_.head
    with torch.no_grad():
        # In the order of the batch, of which the mean is the same.
        expected = head(torch.from_numpy(X)).mean(0), head(torch.from_numpy(X) + shift)
    assert_allclose(z1.mean(0), expected[0], rtol=1e-3, atol=1e-5)
    assert_allclose(z2.mean(0), expected[1].mean(0), rtol=1e-3)


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (("corruption",), r"a pair .*Got 1"),
        ((None, None), "two equal views"),
        (("corruption", "blur"), "'augmentation' must be one of.*'blur'"),
        ((noise, lambda x, generator: x[:1]), r"'augmentation' must return.*\(1, 5\)"),
    ],
)
def test_invalid_pairs(X, pair, match):
    with pytest.raises(ValueError, match=match):
        small(augmentation=pair).fit(X)


def test_a_loss_with_labels(X):
    seen = []

    class Supervised(nn.Module):
        def forward(self, z1, z2, y):
            seen.append(y)
            return (z1 - z2).square().mean()

    y = np.arange(100)
    embedder = small(loss=Supervised(), max_epochs=1, batch_size=40).fit(X, y)
    assert [len(labels) for labels in seen[1:]] == [40, 40, 20]  # after the trial
    assert sorted(torch.cat(seen[1:]).tolist()) == y.tolist()
    names = np.where(y % 2 == 0, "even", "-1")
    embedder.fit(X, names)
    assert set(seen[-1].tolist()) == {0, -1}
    with pytest.raises(ValueError, match="'loss' Supervised needs labels: give y"):
        embedder.fit(X)


def test_a_loss_with_optional_labels(X):
    seen = []

    class SemiSupervised(nn.Module):
        def forward(self, z1, z2, *, y=None):
            seen.append(y)
            return (z1 - z2).square().mean()

    small(loss=SemiSupervised(), max_epochs=1).fit(X)
    assert all(labels is None for labels in seen)
    seen.clear()
    small(loss=SemiSupervised(), max_epochs=1).fit(X, np.arange(100) % 3)
    assert {label for labels in seen for label in labels.tolist()} == {0, 1, 2}


def test_a_loss_is_tried_on_labeled_rows(X):
    class NeedsLabels(nn.Module):
        def forward(self, z1, z2, y):
            assert (y != -1).any()
            return (z1[y != -1] - z2[y != -1]).square().mean()

    y = np.where(np.arange(100) % 10 == 9, 1, -1)
    small(loss=NeedsLabels(), batch_size=100).fit(X, y)


def test_labels_of_a_loss_keep_their_codes(X):
    class Supervised(nn.Module):
        def forward(self, z1, z2, y):
            return (z1 - z2).square().mean()

    names = np.array(["a", "b"] * 50)
    embedder = small(loss=Supervised()).fit(X, names)
    with pytest.raises(ValueError, match="LabelEncoder"):
        embedder.partial_fit(X, names)
    embedder.partial_fit(X, np.arange(100))


def test_a_loss_gets_the_labels_of_its_rows(X):
    seen = []

    class Supervised(nn.Module):
        def forward(self, z1, z2, y):
            seen.append((z1.detach(), y))
            return (z1 * z2).mean()

    embedder = small(
        loss=Supervised(),
        augmentation=("noise", None),
        early_stopping=True,
        max_epochs=1,
        learning_rate=1e-20,
    )
    embedder.set_params(augmentation=lambda x, generator: x.clone())
    embedder.fit(X, X[:, 0])
    module = embedder._model.net.module_
    with torch.no_grad():
        projections = module(torch.from_numpy(X))
    for z, y in seen[1:]:
        assert len(y) == len(z)
        rows = [int(np.flatnonzero(X[:, 0] == label)[0]) for label in y.numpy()]
        assert_allclose(z, projections[rows], atol=1e-4)
