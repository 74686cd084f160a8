"""What a step of training must do, where a slip would change results in silence."""

import numpy as np
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

SEEN = []


class Recorder(nn.Module):
    """An encoder that notes what it sees in training and in evaluation."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        SEEN.append((self.training, x.detach().clone()))
        return self.linear(x)


class Length(nn.Module):
    """A loss whose value is the number of rows."""

    def forward(self, z1, z2):
        return (z1 - z2).mean() * 0 + len(z1)


@pytest.fixture
def seen():
    SEEN.clear()
    return SEEN


def noise(x, generator):
    return x + torch.randn(x.shape, generator=generator)


def test_the_views_of_a_step_are_two_draws_of_the_same_rows(X, seen):
    small(encoder=Recorder, augmentation=noise, batch_size=100, max_epochs=2).fit(X)
    batches = [x for training, x in seen if training and len(x) == 200]
    assert len(batches) == 2
    residuals = []
    for batch in batches:
        one, other = batch.chunk(2)
        assert not torch.isclose(one, other).any()
        # Of the same rows in the same order.
        near = (one - other).norm(dim=1).median()
        assert near < (one - other.roll(1, 0)).norm(dim=1).median()
        residuals += [one.sum().item(), other.sum().item()]
    assert len(set(residuals)) == 4  # no draw is used twice


def test_steps_train_and_all_else_evaluates(X, seen):
    embedder = small(encoder=Recorder, early_stopping=True, validation_fraction=0.3)
    embedder.fit(X)
    modes = {
        n: {training for training, x in seen if len(x) == n}
        for n in (2 * 32, 2 * 30)  # batches of two views: to train on, held out
    }
    assert modes == {64: {True}, 60: {False}}
    for call in (embedder.transform, embedder.score, embedder.similarity):
        seen.clear()
        call(X)
        assert {training for training, _ in seen} == {False}


def test_an_embedding_has_no_dropout(X):
    encoder = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.BatchNorm1d(16))
    embedder = small(encoder=encoder).fit(X)
    with torch.no_grad():
        expected = embedder.encoder_.eval()(torch.from_numpy(X))
    assert_allclose(embedder.transform(X), expected, rtol=1e-4, atol=1e-5)
    assert_array_equal(embedder.transform(X), embedder.transform(X))
    assert_allclose(embedder.transform(X[:1]), expected[:1], rtol=1e-4, atol=1e-5)


def test_the_loss_of_an_epoch_weighs_batches_by_their_rows(X):
    embedder = small(loss=Length(), bin_weight=0).fit(X)  # 32, 32, 32 and 4 rows
    sizes = np.array([32, 32, 32, 4])
    assert_allclose(embedder.loss_curve_, [(sizes**2).sum() / 100] * 3)
    embedder = small(loss=Length(), bin_weight=0, early_stopping=True)
    embedder.set_params(validation_fraction=0.4).fit(X)  # 32 and 8 held out
    assert_allclose(embedder.validation_loss_curve_[0], (32**2 + 8**2) / 40)


def test_the_held_out_rows_are_not_trained_on(X, seen):
    small(encoder=Recorder, early_stopping=True, augmentation=(None, noise)).fit(X)
    plain = {True: set(), False: set()}
    for training, x in seen:
        if len(x) > 4:  # not the trial
            plain[training] |= set(map(tuple, x[: len(x) // 2].tolist()))
    assert len(plain[True]) == 90
    assert len(plain[False] - plain[True]) == 10
