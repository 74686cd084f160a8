"""What parts of a user's own must do is tried before training, part by part."""

import pickle

import numpy as np
import pytest
import torch
from helpers import noise, small
from skorch import callbacks
from torch import nn
from torch.nn.utils import parametrizations

from sklearn_bcl.callbacks import EpochProgress


class Silent(callbacks.Callback):
    """Ends a training that was not refused."""

    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training has begun")


def fails(X, params, match):
    own = params.get("callbacks")
    if own is None:
        params = {**params, "callbacks": [Silent()]}
    with pytest.raises(ValueError, match=match):
        small(**params).fit(X)


# Callbacks


class Recorder(callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("mine", 1)


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (print, r"callbacks of skorch.*<built-in function print> at place 1.*derive"),
        (lambda net: None, r"callbacks of skorch.*<function"),
        (1, "Got 1 at place 1"),
        ("lr", "Got 'lr' at place 1"),
        (None, "Got None at place 1"),
        (("lr", None), "at place 1"),
        ((1, callbacks.EpochTimer()), "at place 1"),
        (("a", callbacks.EpochTimer(), 2), "at place 1"),
        (int, "Got <class 'int'>"),
        (callbacks.EpochScoring("accuracy"), "EpochScoring scores.*Leave it out"),
        (callbacks.BatchScoring("accuracy"), "BatchScoring scores"),
        (callbacks.PassthroughScoring, "PassthroughScoring scores"),
        (
            callbacks.EarlyStopping(),
            r"EarlyStopping monitors 'valid_loss'.*early_stopping=True.*'train_loss'",
        ),
        (callbacks.EarlyStopping, "EarlyStopping monitors 'valid_loss'"),
        (("stop", callbacks.EarlyStopping()), "EarlyStopping monitors"),
        (callbacks.Checkpoint(), "monitors 'valid_loss_best'.*'train_loss_best'"),
        (
            callbacks.LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
            "LRScheduler monitors",
        ),
        (("first", EpochProgress()), "has 2 of the name 'first'"),
    ],
)
def test_callbacks_that_do_not_fit(X, item, match):
    own = [("first", callbacks.EpochTimer()), item]
    with pytest.raises(ValueError, match="'callbacks'"):
        small(callbacks=own).fit(X)
    fails(X, {"callbacks": own}, match)


def test_callbacks_that_do(X):
    own = [
        callbacks.LRScheduler("StepLR", step_size=2),
        ("timer", callbacks.EpochTimer()),
        callbacks.EarlyStopping(monitor="train_loss"),
        callbacks.GradientNormClipping(1.0),
        Recorder,
    ]
    assert small(callbacks=own).fit(X).n_iter_ == 3
    own = [callbacks.EarlyStopping()]
    small(callbacks=own, early_stopping=True).fit(X)


def test_an_error_of_a_callback_says_so(X):
    own = [callbacks.EarlyStopping(monitor="unheard of")]
    with pytest.raises(KeyError) as caught:
        small(callbacks=own).fit(X)
    assert "comes from one of the 'callbacks'" in caught.value.__notes__[0]


# Encoders


def encoder_of(function):
    class Encoder(nn.Linear):
        def forward(self, x):
            return function(self, x)

    return Encoder(5, 4)


def only_in_eval(self, x):
    if self.training:
        raise RuntimeError("no training")
    return nn.functional.linear(x, self.weight)


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (encoder_of(only_in_eval), "'encoder' fails on rows.*no training"),
        (encoder_of(lambda self, x: x @ self.weight.T.detach()), "no gradient"),
        (encoder_of(lambda self, x: (x @ self.weight.T).double()), "float32 tensor"),
        (encoder_of(lambda self, x: (x @ self.weight.T).long()), "float32 tensor"),
        (nn.Linear(5, 4).double(), "'encoder' fails on rows"),
        (nn.Linear(4, 4), "'encoder' fails on rows of shape"),
        (
            parametrizations.weight_norm(nn.Linear(5, 4)),
            r"(?s)must be pick.*in forward",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(5, 4)),
            r"'encoder' must be picklable.*parallel searches",
        ),
    ],
)
def test_encoders_that_do_not_fit(X, encoder, match):
    fails(X, {"encoder": encoder}, match)


@pytest.mark.parametrize(
    "encoder",
    [
        nn.Linear(5, 4),
        nn.Linear(5, 4).requires_grad_(False),
        nn.Identity,
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)),
        nn.LazyLinear(4),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_encoders_that_do(X, encoder):
    embedder = small(encoder=encoder, max_epochs=1).fit(X)
    assert np.isfinite(embedder.transform(X)).all()


# Augmentations


def in_place(x, generator):
    return x.add_(1)


def not_finite(x, generator):
    return x / 0


def by_numpy(x, generator):
    return x + torch.from_numpy(np.random.normal(size=x.shape)).float()


@pytest.mark.parametrize(
    ("augmentation", "match"),
    [
        (in_place, r"must return a new tensor.*x\.clone\(\)"),
        (not_finite, "must return finite values.*inf"),
        (lambda x, generator: x * torch.nan, "must return finite values.*nan"),
        (lambda x: x, r"called as f\(x, generator\)"),
        (lambda x, generator: x[:, :2], "must return a tensor of the shape"),
        (lambda x, generator: x.double(), "must return a tensor of the shape"),
        (lambda x, generator: x.numpy(), "must return a tensor of the shape"),
        ((noise, in_place), "must return a new tensor"),
    ],
)
def test_augmentations_that_do_not_fit(X, augmentation, match):
    fails(X, {"augmentation": augmentation}, rf"(?s)'augmentation'.*{match}")


def test_an_augmentation_that_ignores_its_generator(X):
    with pytest.warns(UserWarning, match=r"'augmentation' does not draw.*reproducible"):
        small(augmentation=by_numpy).fit(X)
    small(augmentation=lambda x, generator: x + torch.rand_like(x)).fit(X)


# Losses and optimizers


def loss_of(function):
    class Loss(nn.Module):
        def forward(self, z1, z2):
            return function(z1, z2)

    return Loss()


class Unpicklable(nn.Module):
    def __reduce__(self):
        raise TypeError("cannot pickle it")

    def __deepcopy__(self, memo):
        return self

    def forward(self, z1, z2):
        return (z1 - z2).square().mean()


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (loss_of(lambda a, b: (a - b).mean().detach()), "differentiable.*no gradient"),
        (loss_of(lambda a, b: a - b), "scalar tensor"),
        (loss_of(lambda a, b: 1.0), "scalar tensor"),
        (nn.CrossEntropyLoss, "Module"),
        (Unpicklable(), "'loss' must be picklable.*cannot pickle it"),
    ],
)
def test_losses_that_do_not_fit(X, loss, match):
    fails(X, {"loss": loss}, match)


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        (torch.optim.SparseAdam, "'optimizer' must be called.*dense"),
        (lambda weights: None, r"optimizer\(weights, lr=\.\.\.\)"),
        (lambda weights, lr: 3, "'optimizer'"),
        (nn.Linear, "'optimizer'"),
    ],
)
def test_optimizers_that_do_not_fit(X, optimizer, match):
    fails(X, {"optimizer": optimizer}, match)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.RMSprop])
def test_optimizers_that_do(X, optimizer):
    embedder = small(optimizer=optimizer, weight_decay=0, max_epochs=1).fit(X)
    pickle.dumps(embedder)


def test_numbers_of_numpy_are_numbers(X):
    params = {"batch_size": np.int64(25), "n_components": np.int32(6)}
    embedder = small(max_epochs=np.int16(2), tol=np.float32(1e-4), **params).fit(X)
    assert embedder.transform(X).shape == (100, 6)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("encoder", None),
        ("augmentation", lambda x, generator: x + 1 if len(x) == 2 else 1 / 0),
        ("loss", loss_of(lambda a, b: a.mean() if len(a) == 2 else 1 / 0)),
    ],
)
def test_errors_on_real_batches_name_the_part(X, name, part):
    if name == "encoder":
        part = encoder_of(
            lambda self, x: (x @ self.weight.T) if len(x) < 5 else x[:7, 9]
        )
    with pytest.raises(Exception) as caught:
        small(**{name: part}).fit(X)
    assert caught.value.__notes__ == [f"It comes from {name!r}."]


def test_callbacks_that_cannot_be_copied(X):
    class Locked(callbacks.Callback):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a lock")

    with pytest.raises(ValueError, match=r"'callbacks' are copied.*a lock"):
        small(callbacks=[Locked()]).fit(X)


@pytest.mark.parametrize("name", [None, "__main__", "no_such_module"])
def test_functions_of_a_session_are_views(X, name):
    session = {} if name is None else {"__name__": name}
    exec("def one_more(x, generator):\n    return x + 1", session)
    assert small(augmentation=session["one_more"]).fit_transform(X).shape[0] == len(X)
