"""Saving to a file without code and by pickle, and what is refused."""

import copy
import json
import os
import pickle
import warnings
from decimal import Decimal
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from helpers import LONG, noise, small
from numpy.testing import assert_array_equal
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from torch import nn

from sklearn_bcl import BCLEmbedder, _files, _version
from sklearn_bcl.augmentations import FeatureCorruption, GaussianNoise
from sklearn_bcl.losses import BCLLoss, DebiasedLoss

rng = np.random.RandomState(0)
NUMBERS = rng.normal(size=(60, 5))
IMAGES = rng.randint(0, 256, (30, 8, 8)).astype(np.uint8)
FRAME = pd.DataFrame(
    {
        "color": rng.choice(["red", "green", "blue"], 60),
        "place": rng.choice([f"p{i}" for i in range(40)], 60),
        "flag": rng.choice([True, False], 60),
        "size": np.where(rng.rand(60) < 0.2, np.nan, rng.normal(size=60)),
        "time": 1.7e9 + rng.normal(size=60),
        "charge": 1e-40 * rng.normal(size=60),
    }
)


class Own(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.linear = nn.Linear(5, size)

    def forward(self, x):
        return self.linear(x).relu()


class OwnLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z1, z2, y):
        return self.scale * (z1 - z2).square().mean()


def tied():
    module = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    module[1].weight = module[0].weight
    return module


LABELS = np.arange(60) % 3
CASES = {
    "numbers": (small(), NUMBERS, {}),
    "frame": (small(hidden_layer_sizes=[8]), FRAME, {}),
    "sparse": (small(), scipy.sparse.random(60, 40, 0.05, "csr", random_state=0), {}),
    "images": (BCLEmbedder(64, max_epochs=1), IMAGES, {}),
    "flat images": (
        BCLEmbedder(64, max_epochs=1, image_shape=(8, 8)),
        IMAGES.reshape(30, 64) / 255,
        {},
    ),
    "losses and views": (
        small(
            loss=DebiasedLoss(temperature=0.3),
            augmentation=(GaussianNoise(0.2), FeatureCorruption(0.5)),
            optimizer=torch.optim.AdamW,
            early_stopping=True,
        ),
        NUMBERS,
        {},
    ),
    "one view": (small(augmentation=(None, "noise")), NUMBERS, {}),
    "labels": (small(alpha="labels", tau_plus="labels"), NUMBERS, {}),
    "own encoder": (small(encoder=Own), NUMBERS, {"encoder": Own}),
    "tied weights": (small(encoder=tied), NUMBERS, {"encoder": tied}),
    "own view": (small(augmentation=noise), NUMBERS, {"augmentation": noise}),
    "own loss": (small(loss=OwnLoss()), NUMBERS, {"loss": OwnLoss()}),
    "categories by index": (
        small(categorical_features=np.array([1])),
        NUMBERS.round(),
        {},
    ),
}


def fitted(case):
    embedder, X, parts = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        embedder = embedder.set_params(random_state=0).fit(X, LABELS[: X.shape[0]])
    return embedder, X, parts


def assert_same(one, other, X):
    assert_array_equal(one.transform(X), other.transform(X))
    assert one.score(X) == other.score(X)
    assert_array_equal(one.similarity(X), other.similarity(X))
    assert one.loss_curve_ == other.loss_curve_
    assert one.n_iter_ == other.n_iter_
    assert str(one._model.format) == str(other._model.format)
    names = {name for name in vars(one) if name.endswith("_")}
    assert names == {name for name in vars(other) if name.endswith("_")}
    for name in ("alpha_", "tau_plus_", "beta_"):
        assert getattr(one, name, None) == getattr(other, name, None)


@pytest.mark.parametrize("case", CASES)
def test_a_saved_embedder_is_the_same(case, tmp_path):
    embedder, X, parts = fitted(case)
    embedder.save(tmp_path / "model")
    loaded = BCLEmbedder.load(tmp_path / "model", **parts)
    assert_same(embedder, loaded, X)
    if case != "categories by index":  # an array, which becomes a list
        assert str(loaded) == str(embedder)
    assert os.listdir(tmp_path) == ["model"]
    again = pickle.loads(pickle.dumps(embedder))
    assert_same(embedder, again, X)


@pytest.mark.parametrize("case", ["numbers", "frame", "images", "losses and views"])
def test_training_goes_on_as_from_the_original(case, tmp_path):
    embedder, X, _ = fitted(case)
    embedder.set_params(early_stopping=False).save(tmp_path / "model", optimizer=True)
    loaded = BCLEmbedder.load(tmp_path / "model")
    for each in (embedder, loaded):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            each.partial_fit(X)
    assert_same(embedder, loaded, X)


def test_the_optimizer_is_saved_when_asked_for(tmp_path):
    embedder, X, _ = fitted("numbers")
    for asked in (False, True):
        embedder.save(tmp_path / str(asked), optimizer=asked)
    small_, large = (os.path.getsize(tmp_path / name) for name in ("False", "True"))
    assert large > 1.4 * small_
    BCLEmbedder.load(tmp_path / "False").partial_fit(X)


def test_a_default_model_is_a_third_of_its_pickle(tmp_path):
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(NUMBERS)
    embedder.save(tmp_path / "model")
    assert os.path.getsize(tmp_path / "model") < 0.4 * len(pickle.dumps(embedder))


def test_only_fitted_embedders_are_saved(tmp_path):
    with pytest.raises(NotFittedError):
        BCLEmbedder().save(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        fitted("numbers")[0].save(tmp_path / "missing" / "model")


def test_parts_of_one_s_own_are_asked_for(tmp_path):
    embedder, _, _ = fitted("own encoder")
    embedder.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"not its code.*encoder=.*test_saving\.Own"):
        BCLEmbedder.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"another 'encoder'"):
        BCLEmbedder.load(tmp_path / "model", encoder=Own(3))
    with pytest.raises(ValueError, match="own 'loss'"):
        BCLEmbedder.load(tmp_path / "model", encoder=Own, loss=BCLLoss())


def test_categories_that_no_file_holds(tmp_path):
    values = [Decimal("1.5"), Decimal("2.5")] * 10
    frame = pd.DataFrame({"a": values, "b": np.arange(20.0)})
    embedder = small(categorical_features=["a"], batch_size=20).fit(frame)
    embedder.save(tmp_path / "model")
    loaded = BCLEmbedder.load(tmp_path / "model")
    assert_array_equal(loaded.transform(frame), embedder.transform(frame))


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    embedder, X, _ = fitted("numbers")
    embedder.save(tmp_path / "model")
    monkeypatch.setattr(os, "fsync", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small(random_state=1).fit(X).save(tmp_path / "model")
    assert_same(BCLEmbedder.load(tmp_path / "model"), embedder, X)


class Activations(nn.Module):
    """With attributes whose texts differ from one process to the next."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)
        self.functions = (torch.relu, object())

    def forward(self, x):
        return self.functions[0](self.linear(x))


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


def test_attributes_that_are_no_plain_values(tmp_path):
    embedder = small(encoder=Activations).fit(NUMBERS)
    assert_same(copy.deepcopy(embedder), embedder, NUMBERS)
    embedder = small(encoder=WithExtraState(5, 4)).fit(NUMBERS)
    assert_same(pickle.loads(pickle.dumps(embedder)), embedder, NUMBERS)
    with pytest.raises(TypeError, match="extra state, which cannot be saved"):
        embedder.save(tmp_path / "model")


def test_a_random_state_that_goes_on_is_no_change():
    shared = np.random.RandomState(0)
    for random_state in (shared, None):
        embedder = small(random_state=random_state, max_epochs=1).fit(NUMBERS)
        state = embedder.__getstate__()
        shared.rand()
        np.random.rand()
        BCLEmbedder.__new__(BCLEmbedder).__setstate__(copy.deepcopy(state))


class Small(BCLEmbedder):
    def __init__(self, max_epochs=1, shift=0):
        super().__init__(8, max_epochs=max_epochs, random_state=0)
        self.shift = shift


def test_a_subclass_with_parameters_of_its_own(tmp_path):
    embedder = Small(2, shift=3).fit(NUMBERS)
    embedder.save(tmp_path / "model")
    loaded = Small.load(tmp_path / "model")
    assert loaded.shift == 3 and loaded.max_epochs == 2
    assert_same(loaded, embedder, NUMBERS)
    with pytest.raises(ValueError, match=r"holds a Small\. Load it by Small\.load"):
        BCLEmbedder.load(tmp_path / "model")


def test_parameters_that_were_changed_after_the_fit(tmp_path):
    embedder = small().fit(NUMBERS)
    embedder.set_params(n_components=3, augmentation="noise", device="cuda")
    embedder.save(tmp_path / "model")
    loaded = BCLEmbedder.load(tmp_path / "model")
    assert_same(loaded, embedder, NUMBERS)
    assert loaded.get_params() == embedder.get_params()


def test_a_part_of_the_fit_is_asked_for_after_a_change(tmp_path):
    embedder = small(augmentation=noise).fit(NUMBERS).set_params(augmentation="noise")
    embedder.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"not its code.*augmentation="):
        BCLEmbedder.load(tmp_path / "model")
    loaded = BCLEmbedder.load(tmp_path / "model", augmentation=noise)
    assert loaded.augmentation == "noise"
    assert_same(loaded, embedder, NUMBERS)


def standardized(x, generator):
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize(
    "params",
    [
        {"categorical_features": pd.Index([1])},
        {"hidden_layer_sizes": range(8, 6, -1)},
        {"augmentation": FeatureCorruption(np.float32(0.3))},
        {"loss": BCLLoss(temperature=np.float32(0.3))},
        {"temperature": np.float64(0.4), "batch_size": np.int64(16)},
        {"augmentation": standardized},
    ],
)
def test_parameters_of_other_types(params, tmp_path):
    embedder = small(**{"max_epochs": 1, **params}).fit(NUMBERS)
    embedder.save(tmp_path / "model")
    own = params.get("augmentation")
    parts = {"augmentation": own} if own is standardized else {}
    loaded = BCLEmbedder.load(tmp_path / "model", **parts)
    assert_same(loaded, embedder, NUMBERS)


class BinaryLoss(nn.Module):
    def forward(self, z1, z2, y):
        logits = (z1 * z2).sum(dim=1)
        return nn.functional.binary_cross_entropy_with_logits(logits, y)


def test_a_loss_of_float_labels(tmp_path):
    y = (np.arange(60) % 2).astype(float)
    embedder = small(loss=BinaryLoss()).fit(NUMBERS, y)
    embedder.save(tmp_path / "model")
    loaded = BCLEmbedder.load(tmp_path / "model", loss=BinaryLoss())
    assert_same(loaded, embedder, NUMBERS)


# Files that are something else


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    embedder = small(n_components=4, hidden_layer_sizes=(6,), projection_size=4)
    embedder.fit(NUMBERS).save(path)
    return path.read_bytes(), embedder.transform(NUMBERS)


REFUSED = {
    "text": (b"some text that is no model", "no file of sklearn_bcl"),
    "empty": (b"", "no file of sklearn_bcl"),
    "pickle": (pickle.dumps(small()), "no file of sklearn_bcl"),
    "other tensors": (save_bytes({"a": torch.ones(2)}), "another safetensors file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused(case, tmp_path):
    content, match = REFUSED[case]
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        BCLEmbedder.load(tmp_path / "model")


def test_paths_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        BCLEmbedder.load(tmp_path / "model")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        BCLEmbedder.load(tmp_path)


def test_an_unknown_version_is_refused(saved, tmp_path, monkeypatch):
    tensors = load_bytes(saved[0])
    monkeypatch.setattr(_files, "VERSION", 99)
    _files.write(tmp_path / "model", "model", tensors, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"version 99 of the file format.*install"):
        BCLEmbedder.load(tmp_path / "model")


def test_a_checkpoint_is_no_model(tmp_path):
    _files.write(tmp_path / "file", "checkpoint", {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="is no model of sklearn_bcl"):
        BCLEmbedder.load(tmp_path / "file")


def check_mutations(saved, path, n_mutations, seed=0):
    """Load changed files: each is an error that says so, or the same model."""
    content, expected = saved
    random = np.random.RandomState(seed)
    header = 8 + int.from_bytes(content[:8], "little")
    n_errors = 0
    for i in range(n_mutations):
        changed = bytearray(content)
        if i % 4 == 0:
            del changed[random.randint(len(content)) :]
        else:  # a bit, most often of the header
            place = random.randint(header if i % 4 < 3 else len(content))
            changed[place] ^= 1 << random.randint(8)
        path.write_bytes(changed)
        try:
            loaded = BCLEmbedder.load(path)
        except ValueError:
            n_errors += 1
        else:
            assert_array_equal(loaded.transform(NUMBERS), expected)
    return n_errors


def test_changed_files_are_errors(saved, tmp_path):
    n_mutations = 6000 if LONG else 200
    n_errors = check_mutations(saved, tmp_path / "model", n_mutations)
    assert n_errors >= 0.95 * n_mutations


# Pickles


def test_a_pickle_of_another_version_warns(monkeypatch):
    embedder, X, _ = fitted("numbers")
    monkeypatch.setattr(_version, "VERSION", "0.0.9")
    content = pickle.dumps(embedder)
    monkeypatch.undo()
    with pytest.warns(InconsistentVersionWarning, match="0.0.9 of sklearn_bcl"):
        loaded = pickle.loads(content)
    assert_same(loaded, embedder, X)


def test_a_pickle_without_a_version():
    embedder = small()
    state = {k: v for k, v in vars(embedder).items() if k != "bin_weight"}
    old = BCLEmbedder.__new__(BCLEmbedder)
    with pytest.warns(InconsistentVersionWarning, match="or before"):
        old.__setstate__({**state, "_sklearn_version": "1.6"})
    assert repr(old) == repr(embedder)  # with a default for the parameter it lacks
    with pytest.raises(ValueError, match=r"0\.1\.0\.dev3 or before.*Fit it again"):
        BCLEmbedder.__new__(BCLEmbedder).__setstate__({**state, "_net": None})


def test_changed_weights_of_a_pickle_are_an_error():
    embedder = fitted("numbers")[0]
    content = pickle.dumps(embedder)
    weight = embedder.encoder_.linear.weight.detach().numpy().tobytes()
    place = content.index(weight[:64])
    changed = bytearray(content)
    changed[place + 3] ^= 1
    with pytest.raises(ValueError, match="changed after it was written"):
        pickle.loads(bytes(changed))


def test_a_cut_off_dump_is_no_embedder(tmp_path):
    joblib.dump(fitted("numbers")[0], tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[: len(content) // 2])
    with pytest.raises((EOFError, pickle.UnpicklingError, ValueError)):
        joblib.load(tmp_path / "model")


RELEASES = os.path.join(os.path.dirname(__file__), "saved")


SAVED = sorted(name for name in os.listdir(RELEASES) if name.endswith(".safetensors"))


@pytest.mark.parametrize("name", SAVED)
def test_files_of_earlier_releases(name):
    path = os.path.join(RELEASES, name)
    expected = json.loads(Path(path.replace(".safetensors", ".json")).read_text())
    loaded = BCLEmbedder.load(path)
    found = loaded.transform(np.array(expected["rows"]))
    np.testing.assert_allclose(found, expected["embedding"], rtol=1e-4, atol=1e-5)
