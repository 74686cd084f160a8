"""Draws: from private generators, or from global ones that are lent."""

import os
import random
import threading
import time

import numpy as np
import pytest
import torch
from helpers import LONG, noise, small
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl._random import (
    Draws,
    Float32Factories,
    drawing_from,
    draws_globally,
    seed_from,
)
from sklearn_bcl.augmentations import (
    FeatureCorruption,
    ImageAugmentation,
    OfColumns,
)
from sklearn_bcl.encoders import MLPEncoder, resnet_encoder
from sklearn_bcl.losses import BCLLoss

IMAGES = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 3)).astype(np.uint8)


def global_states():
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def test_lent_generators_go_on_and_are_as_before(device):
    before = global_states()
    draws = []
    for _ in range(2):
        ours, others = Draws(3, device), Draws(4, device)
        with ours.lent():
            first = torch.rand(3), torch.rand(3, device=device)
            with others.lent():  # threads and fits may be nested
                inner = torch.rand(3, device=device)
        torch.rand(2)  # somebody else
        with ours.lent():
            draws.append((*first, torch.rand(3, device=device)))
    for first, second in zip(*draws, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(draws[0][1], draws[0][2])
    assert not torch.equal(draws[0][2], inner)
    torch.set_rng_state(before[0])
    with pytest.raises(RuntimeError), Draws(3, device).lent():
        torch.rand(3, device=device)
        raise RuntimeError
    assert all(map(torch.equal, global_states(), before))


MODULES = {
    "linear": lambda: nn.Linear(3, 4),
    "embedding": lambda: nn.Embedding(3, 4),
    "recurrent": lambda: nn.LSTM(3, 4),
    "perceptron": lambda: MLPEncoder(3, 4),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)),
    "ResNet": lambda: resnet_encoder("resnet18", 3),
    "own": lambda: nn.ParameterList([torch.randn(3), torch.empty(2).uniform_()]),
}


@pytest.mark.parametrize("kind", MODULES)
def test_initial_weights_come_from_a_private_generator(kind):
    state = torch.get_rng_state()
    states = []
    for _ in range(2):
        torch.rand(1)
        with Float32Factories(torch.Generator().manual_seed(0)):
            states.append(MODULES[kind]().state_dict())
    torch.set_rng_state(state)
    with Float32Factories(torch.Generator().manual_seed(0)):
        MODULES[kind]()
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_kornia_draws_from_a_generator(device):
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images, views, before = images.to(device), [], global_states()
    for seed in (0, 0, 1):
        generator = torch.Generator(device).manual_seed(seed)
        views.append(ImageAugmentation()(images, generator))
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert all(map(torch.equal, global_states(), before))
    with drawing_from(torch.Generator(device).manual_seed(0)):
        assert torch.rand(2, device=device).shape == (2,)


@pytest.mark.parametrize(
    "part, expected",
    [
        (MLPEncoder(3, 4), False),
        (resnet_encoder("resnet18", 3), False),
        (BCLLoss(), False),
        (FeatureCorruption(), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), True),
        (nn.LSTM(3, 4), True),
        (nn.RReLU(), True),
        (noise, True),
        (OfColumns(noise, None), True),
        (OfColumns(FeatureCorruption(), None), False),
        (type("Own", (FeatureCorruption,), {"__module__": "mine"})(), True),
    ],
)
def test_who_may_draw_globally(part, expected):
    assert draws_globally(part) == expected


def test_seed_from(device):
    generator = torch.Generator(device).manual_seed(0)
    seeds = [seed_from(generator) for _ in range(3)]
    assert len(set(seeds)) == 3
    assert seed_from(torch.Generator(device).manual_seed(0)) == seeds[0]
    assert seed_from(torch.Generator(device).manual_seed(1)) != seeds[0]
    torch.Generator(device).manual_seed(seeds[0])  # a seed that torch takes


# Fits beside threads that draw


def global_noise(x, generator):
    return x + 0.1 * torch.randn_like(x)


def with_dropout():
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 4))


DRAWS = [
    lambda: torch.rand(1).item(),
    np.random.rand,
    random.random,
    np.random.RandomState(0).rand,
]


class Drawing:
    """Threads that draw, one from each generator, while it is entered.

    With `n_draws`, so many of each.
    """

    def __init__(self, n_draws=None):
        self.n_draws, self.stop, self.drawn = n_draws, False, [[] for _ in DRAWS]
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        DRAWS[3] = np.random.RandomState(0).rand
        self.threads = [
            threading.Thread(target=self.run, args=(i,)) for i in range(len(DRAWS))
        ]

    def run(self, i):
        most = None if self.n_draws is None else self.n_draws[i]
        while not self.stop and len(self.drawn[i]) != most:
            self.drawn[i].append(DRAWS[i]())
            time.sleep(0)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop = self.n_draws is None
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize(
    "rows, params",
    [("table", {}), ("images", {"augmentation": "images", "encoder": "convnet"})],
)
def test_fits_and_other_threads_do_not_disturb_each_other(X, rows, params):
    X = {"table": X, "images": IMAGES}[rows]
    expected = small(**params).fit(X)
    n_fits = 50 if LONG else 3
    with Drawing() as threads:
        fits = [small(**params).fit(X) for _ in range(n_fits)]
        scores = [fit.score(X) for fit in fits]
    for fit in fits:
        assert_array_equal(fit.transform(X), expected.transform(X))
    assert scores == [expected.score(X)] * n_fits
    assert all(map(len, threads.drawn))
    with Drawing([len(drawn) for drawn in threads.drawn]) as alone:
        pass
    assert threads.drawn == alone.drawn


@pytest.mark.parametrize(
    "params",
    [{"encoder": with_dropout}, {"augmentation": global_noise}],
    ids=["encoder", "augmentation"],
)
def test_parts_that_draw_globally(X, params):
    # What they draw follows from random_state, and the user's state is as before.
    first = small(**params).fit(X)
    torch.rand(7)
    state = torch.get_rng_state()
    second = small(**params).fit(X)
    assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(first.transform(X), second.transform(X))
    assert first.score(X) == first.score(X) == second.score(X)
    other = small(**{**params, "random_state": 1}).fit(X)
    assert (other.transform(X) != first.transform(X)).any()


def test_validation_views_are_the_same_in_each_epoch(X):
    # Of an encoder that learns nothing, the held-out loss stays the same.
    losses = []
    for augmentation in (noise, global_noise):
        embedder = small(
            augmentation=augmentation, learning_rate=1e-30, early_stopping=True
        )
        losses.append(embedder.fit(X).validation_loss_curve_)
    assert all(len(set(np.float32(curve))) == 1 for curve in losses)


class Hold(Callback):
    """Hold a fit in its first batch."""

    inside, go_on = threading.Event(), threading.Event()

    def on_batch_end(self, net, **kwargs):
        self.inside.set()
        assert self.go_on.wait(60)


def test_nothing_waits_for_a_fit(X):
    embedder = small().fit(X)
    fit = threading.Thread(target=lambda: small(callbacks=[Hold()]).fit(X))
    fit.start()
    assert Hold.inside.wait(60)
    embedder.score(X)
    embedder.true_negative_proba(X)
    small(augmentation=noise).fit(X)  # to which generators are lent
    assert fit.is_alive()
    Hold.go_on.set()
    fit.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_the_generators_are_lent(X):
    lent, go_on = threading.Event(), threading.Event()

    def borrow():
        with Draws(0, torch.device("cpu")).lent():
            lent.set()
            go_on.wait(0.2)

    thread = threading.Thread(target=borrow)
    thread.start()
    assert lent.wait(10)
    child = os.fork()  # waits for the thread
    if child == 0:
        with Draws(0, torch.device("cpu")).lent():
            os._exit(0)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_the_default_embedder_leaves_all_generators_alone(X):
    states = global_states(), np.random.get_state()[1].copy(), random.getstate()
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
    embedder.score(X)
    assert all(map(torch.equal, global_states(), states[0]))
    assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def drawing_encoder():
    class Drawing(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 0.1 * torch.randn_like(x[:, :4])

    return Drawing(5, 4)


def test_an_encoder_that_draws_in_evaluation(X):
    y, fits = np.arange(100) % 3, []
    state = torch.get_rng_state()
    for _ in range(2):
        fits.append(small(encoder=drawing_encoder, alpha="labels").fit(X, y))
        assert torch.equal(torch.get_rng_state(), state)
    assert fits[0].alpha_ == fits[1].alpha_
    assert_array_equal(
        fits[0].encoder_.weight.detach(), fits[1].encoder_.weight.detach()
    )
    assert fits[0].score(X) == fits[0].score(X) == fits[1].score(X)
