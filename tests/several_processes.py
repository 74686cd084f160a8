"""What several processes do together, for test_distributed.py, which starts them.

``torchrun --nproc-per-node 2 several_processes.py FOLDER`` writes, for each process, a
file with the result of each case: "passed", or how it failed.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from helpers import LONG
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from torch import nn

import sklearn_bcl.losses
from sklearn_bcl import BCLEmbedder
from sklearn_bcl._batch_norm import synchronized
from sklearn_bcl._processes import _CURRENT, share_of_fit
from sklearn_bcl.callbacks import Checkpoint, LinearAlpha
from sklearn_bcl.distributed import all_processes
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss, NTXentLoss

FOLDER = Path(sys.argv[-1])  # in the processes
IRIS, IRIS_LABELS = load_iris(return_X_y=True)
WINE = load_wine().data
# Adam may turn a difference in the last bits into a step: not so with SGD.
EXACT = {"optimizer": "sgd", "learning_rate": 0.05}
LOSSES = [
    NTXentLoss(),
    BCLLoss(),
    BCLLoss(beta=0.7, robustness=0.5),
    BCLLoss(robustness=1),
    DebiasedLoss(robustness=0.5),
    DebiasedLoss(tau_plus=0.9),  # on its floor
    HardNegativeLoss(),
    HardNegativeLoss(concentration=2, robustness=1),
]
CASES = []


def case(function):
    CASES.append(function)
    return function


def of_all(value):
    """Return the values of all processes."""
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def fit(X=IRIS, y=None, **parameters):
    parameters = {"max_epochs": 3, "batch_size": 64, "random_state": 0, **parameters}
    return BCLEmbedder(**parameters).fit(X, y)


def check_same_model(together, alone, X, rtol=1e-5):
    """Compare an embedder that all have fitted with one that each has fitted alone."""
    assert_allclose(together.loss_curve_, alone.loss_curve_, rtol=1e-4)
    assert (
        of_all(together.loss_curve_) == [together.loss_curve_] * dist.get_world_size()
    )
    together, alone = together.transform(X), alone.transform(X)
    for other in of_all(together):
        assert_array_equal(together, other)
    assert np.linalg.norm(together - alone) <= rtol * np.linalg.norm(alone)


@case
def gradients_are_those_of_one_process():
    with all_processes(), share_of_fit() as share:
        for loss in LOSSES:
            for n_rows in (24, 25, 3, 2):
                for has_norm in (False, True):
                    if n_rows >= 4 or not has_norm:
                        check_gradients(loss, n_rows, has_norm, share)


def check_gradients(loss, n_rows, has_norm, share):
    torch.manual_seed(0)
    alone, together = (
        nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8) if has_norm else nn.ReLU(),
            nn.Linear(8, 5),
        ).double()
        for _ in range(2)
    )
    together.load_state_dict(alone.state_dict())
    views = torch.randn(2, n_rows, 6, dtype=torch.float64)
    views[:, 1] = views[:, 0]  # a tie
    value = loss(*alone(views.flatten(0, 1)).chunk(2))
    value.backward()
    with synchronized(together, share):
        own = views[:, share.rows(n_rows)]
        z1, z2 = together(own.flatten(0, 1)).chunk(2)
        of_all = loss.of_share(z1, z2, share, n_rows)
        of_all.backward()
    share.average_gradients(list(together.parameters()), may_change=True)
    assert_allclose(of_all.item(), value.item(), rtol=1e-12)
    pairs = zip(together.named_parameters(), alone.parameters(), strict=True)
    for (name, ours), expected in pairs:
        assert_allclose(
            ours.grad, expected.grad, rtol=0, atol=1e-10, err_msg=f"{loss} {name}"
        )
    for ours, expected in zip(together.buffers(), alone.buffers(), strict=True):
        assert_allclose(ours, expected, rtol=0, atol=1e-10)


@case
def gradients_in_float32_and_in_chunks():
    most = sklearn_bcl.losses.MOST_SIMILARITIES
    torch.manual_seed(0)
    views = torch.randn(2, 301, 16)
    for loss in LOSSES:
        exact = views.double().requires_grad_()
        loss(*exact).backward()
        sklearn_bcl.losses.MOST_SIMILARITIES = 100 * 602
        try:
            with all_processes(), share_of_fit() as share:
                own = share.rows(301)
                z = views[:, own].clone().requires_grad_()
                loss.of_share(*z, share, 301).backward()
        finally:
            sklearn_bcl.losses.MOST_SIMILARITIES = most
        # Of the mean over the processes, each has the gradient of its own rows.
        slope = z.grad / dist.get_world_size()
        scale = exact.grad.abs().max().item()
        assert_allclose(slope, exact.grad[:, own], rtol=0, atol=2e-3 * scale)


@case
def fits_are_those_of_one_process():
    for parameters in (
        {},
        {"loss": "simclr"},
        {"loss": "dcl"},
        {"loss": "hcl", "batch_size": 37},
        {"bin_weight": 0, "max_epochs": 1, "batch_size": 149},  # a tail of one row
        {"augmentation": "noise", "early_stopping": True},
        {"alpha": "labels"},
        {"loss": OwnLoss()},
        {"loss": OfLabels()},
    ):
        y = IRIS_LABELS if parameters.keys() & {"alpha", "loss"} else None
        with all_processes():
            together = fit(y=y, **EXACT, **parameters)
        check_same_model(together, fit(y=y, **EXACT, **parameters), IRIS)
    with all_processes():
        together = fit(WINE)  # by Adam
    check_same_model(together, fit(WINE), WINE)


class OwnLoss(nn.Module):
    """A loss with a parameter, which knows nothing of processes."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, z1, z2):
        return NTXentLoss()(z1, z2) * self.scale.square()


class OfLabels(nn.Module):
    def forward(self, z1, z2, y):
        assert len(y) == len(z1)
        return NTXentLoss()(z1, z2)


@case
def fits_go_on():
    embedders = []
    for _ in range(2):
        with all_processes():
            embedder = BCLEmbedder(**EXACT, random_state=0)
            embedder.partial_fit(IRIS[:100]).partial_fit(IRIS[50:])
        embedders.append(embedder)
        warm = BCLEmbedder(**EXACT, random_state=0, warm_start=True, max_epochs=2)
        with all_processes():
            warm.fit(IRIS)
        embedders.append(warm.fit(IRIS))  # alone
    assert_array_equal(embedders[0].transform(IRIS), embedders[2].transform(IRIS))
    alone = BCLEmbedder(**EXACT, random_state=0)
    alone.partial_fit(IRIS[:100]).partial_fit(IRIS[50:])
    check_same_model(embedders[0], alone, IRIS)
    alone = BCLEmbedder(**EXACT, random_state=0, warm_start=True, max_epochs=2)
    check_same_model(embedders[1], alone.fit(IRIS).fit(IRIS), IRIS)


class Convolutions(nn.Module):
    """Computes in float64, so that rounding does not grow."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * 36, 8),
        ).double()
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x.double()).float()


def mirrored(x, generator):
    return x.flip(3) + 0.1


@case
def images_and_batch_norm():
    X = load_digits().images[:101]
    parameters = {
        "encoder": Convolutions(),
        "augmentation": (None, mirrored),
        **EXACT,
    }
    with all_processes():
        together = fit(X, **parameters)
    alone = fit(X, **parameters)
    check_same_model(together, alone, X)
    state, expected = together.encoder_.state_dict(), alone.encoder_.state_dict()
    for name, value in state.items():
        assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert type(together.encoder_.layers[1]) is nn.BatchNorm2d
    assert "forward" not in vars(together.encoder_.layers[1])
    with all_processes():
        convnet = fit(X, max_epochs=1, n_components=8)
    for other in of_all(convnet.transform(X)):
        assert_array_equal(convnet.transform(X), other)


@case
def draws_are_shared():
    for random_state in (None, np.random.RandomState(dist.get_rank())):
        before = np.random.get_state()[1]
        with all_processes():
            Z = fit(random_state=random_state).transform(IRIS)
        for other in of_all(Z):
            assert_array_equal(Z, other)
        if random_state is not None:
            assert_array_equal(before, np.random.get_state()[1])


class StopSecond(Callback):
    """Ends training in the second process, at the end of an epoch."""

    def on_epoch_end(self, net, **kwargs):
        if dist.get_rank() == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


@case
def callbacks_stop_all():
    with all_processes():
        embedder = fit(callbacks=[StopSecond()], max_epochs=5, **EXACT)
    assert embedder.n_iter_ == 2
    check_same_model(embedder, fit(max_epochs=2, **EXACT), IRIS)


@case
def a_ramp_of_alpha_stops_with_the_others():
    with all_processes():
        embedder = fit(callbacks=[StopSecond(), LinearAlpha()], max_epochs=5, **EXACT)
    assert embedder.n_iter_ == 2


class StopWithinSecond(Callback):
    """Ends training in the second process, in the middle of an epoch."""

    def on_batch_end(self, net, **kwargs):
        if dist.get_rank() == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


@case
def layers_may_be_frozen_for_some_epochs():
    encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
    parameters = {"encoder": encoder, "callbacks": [FreezeFirst()], **EXACT}
    with all_processes():
        together = fit(**parameters)
    check_same_model(together, fit(**parameters), IRIS)


class FreezeFirst(Callback):
    def on_epoch_begin(self, net, **kwargs):
        net.module_.encoder[0].requires_grad_(len(net.history) > 1)


class Rectified(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x).relu()


@case
def what_all_raise_ends_one_fit_only():
    rank = dist.get_rank()
    encoder = nn.Sequential(nn.Linear(4, 8), Rectified(8))
    with all_processes():
        try:
            fit(encoder=encoder)
        except ValueError as error:
            assert "'encoder' has a Rectified" in str(error)
        else:
            raise AssertionError
    with all_processes():
        verbose = fit(verbose=int(rank == 0))  # only the first shows its progress
        search = GridSearchCV(
            BCLEmbedder(max_epochs=1, random_state=0),
            {"learning_rate": [1e38, 0.01]},
            cv=2,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(IRIS)
    assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [True, False])
    assert_array_equal(of_all(verbose.transform(IRIS))[0], verbose.transform(IRIS))


@case
def a_checkpoint_is_written_by_one():
    path = FOLDER / "checkpoint"
    parameters = {"max_epochs": 4, "callbacks": [Checkpoint(path), StopSecond()]}
    with all_processes():
        fit(**parameters, **EXACT)
        whole = fit(max_epochs=4, **EXACT)
        # The second process ends it again, unless it goes on after epoch 2.
        resumed = fit(**parameters, **EXACT)
    assert_array_equal(resumed.transform(IRIS), whole.transform(IRIS))


@case
def searches():
    embedder = BCLEmbedder(max_epochs=2, random_state=0, **EXACT)
    pipeline = make_pipeline(embedder, LogisticRegression())
    grid = {"bclembedder__beta": [0.5, 0.8]}
    alone = GridSearchCV(pipeline, grid, cv=2).fit(IRIS, IRIS_LABELS)
    for n_jobs in (1, 2) if LONG else (1,):
        with all_processes():
            search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs)
            search.fit(IRIS, IRIS_LABELS)
        scores = search.cv_results_["mean_test_score"]
        assert_allclose(scores, alone.cv_results_["mean_test_score"])
        for other in of_all(scores):
            assert_array_equal(other, scores)
    with all_processes(), parallel_config(backend="threading"):
        # In other threads, each process fits alone: here, different rows.
        rows = IRIS[dist.get_rank() :]
        a, b = Parallel(n_jobs=2)(delayed(fit)(rows) for _ in range(2))
    assert_array_equal(a.transform(IRIS), b.transform(IRIS))


def check_fails(function, error, match, *, in_training=False, **parameters):
    """All processes raise, soon, and the estimator is as before.

    If it was not in training, another fit can follow.
    """
    embedder = BCLEmbedder(random_state=0, max_epochs=3, batch_size=64)
    embedder.fit(IRIS)
    before = embedder.transform(IRIS)
    embedder.set_params(**parameters)
    start = time.monotonic()
    raised = None
    try:
        with all_processes(timeout=20):
            try:
                function(embedder)
            except BaseException as failure:
                raised = failure
                if in_training:
                    second_fit_fails()
                elif "leaves the block" not in str(raised):
                    fit(max_epochs=1)
            if raised is not None:
                raise raised
    except BaseException as failure:
        raised = failure
    assert isinstance(raised, error), repr(raised)
    assert match in str(raised), str(raised)
    assert time.monotonic() - start < 30
    assert _CURRENT.get() is None
    assert_array_equal(embedder.transform(IRIS), before)
    dist.barrier()


def second_fit_fails():
    try:
        fit()
    except RuntimeError as error:
        assert "has failed" in str(error), error
    else:
        raise AssertionError


@case
def other_rows_parameters_or_states():
    rank = dist.get_rank()
    check_fails(lambda e: e.fit(IRIS + rank), ValueError, "rows")
    check_fails(lambda e: e.fit(IRIS[rank:]), ValueError, "rows")
    check_fails(lambda e: e.fit(IRIS), ValueError, "parameters", beta=0.5 + rank / 10)
    check_fails(lambda e: e.fit(IRIS), ValueError, "random_state", random_state=rank)
    other = BCLEmbedder(beta=0.5 + rank / 10, random_state=0, max_epochs=1).fit(IRIS)
    other.set_params(beta=0.5)
    check_fails(lambda e: other.partial_fit(IRIS), ValueError, "initial weights")


class RaiseInSecond:
    def __call__(self, x, generator):
        if dist.get_rank() == 1 and len(x) > 2:
            raise OSError("no space left")
        return x + 0.1


class InterruptSecond(Callback):
    def on_batch_end(self, net, **kwargs):
        if dist.get_rank() == 1 and len(net.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)


@case
def failures_end_all():
    elsewhere = (RuntimeError, "Another process")
    is_second = dist.get_rank() == 1

    def check(error, match, **parameters):
        expected = (error, match) if is_second else elsewhere
        check_fails(lambda e: e.fit(IRIS), *expected, in_training=True, **parameters)

    check(OSError, "no space", augmentation=RaiseInSecond())
    check(KeyboardInterrupt, "", callbacks=[InterruptSecond()])
    check(ValueError, "middle of an epoch", callbacks=[StopWithinSecond()])
    # Before training: all hear of it, and can go on.
    broken = np.where(is_second, np.inf, IRIS)
    expected = ValueError if is_second else RuntimeError
    check_fails(lambda e: e.fit(broken), expected, "infinity")
    search = GridSearchCV(
        BCLEmbedder(max_epochs=1, random_state=0), {"alpha": [0.9, 1]}
    )
    with all_processes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.set_params(estimator__tau_plus=0.0).fit(IRIS)  # invalid with alpha 1
    assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [False, True])


@case
def a_process_that_makes_other_calls():
    def only_in_first(embedder):
        if dist.get_rank() == 0:
            embedder.fit(IRIS)

    check_fails(only_in_first, RuntimeError, "make the same calls")


@case
def nothing_stays():
    assert dist.is_initialized()  # the group of this script
    assert threading.active_count() < 50
    assert_array_equal(fit().transform(IRIS), fit().transform(IRIS))
    with all_processes() as processes:
        assert processes.rank == dist.get_rank()
        assert processes.size == dist.get_world_size()
        assert processes.is_main == (processes.rank == 0)


def main():
    warnings.simplefilter("error")
    dist.init_process_group("gloo")
    results = {}
    for function in CASES:
        start = time.monotonic()
        try:
            function()
            result = "passed"
        except BaseException:
            result = traceback.format_exc()
        results[function.__name__] = result
        print(
            dist.get_rank(),
            function.__name__,
            f"{time.monotonic() - start:.1f} s",
            result[-600:],
            flush=True,
        )
        dist.barrier()
    name = f"results.{dist.get_rank()}.json"
    (FOLDER / name).write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
