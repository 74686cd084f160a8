import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import noise, small, weights
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import (
    Callback,
    Checkpoint,
    GradientNormClipping,
    LRScheduler,
    PrintLog,
    ProgressBar,
)
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption, FeatureMasking, GaussianNoise
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss, NTXentLoss


class OtherHeadInput(nn.Linear):
    def head_input(self, x):
        return x


class NoStatistics(nn.Linear):
    def fit_statistics(self, rows, random_state, before):
        return rows.no_such_thing


# Reproducibility


def test_same_seed_is_bit_equal_and_global_generators_are_untouched(digits):
    X, _ = digits
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    first, second = (
        BCLEmbedder(max_epochs=3, random_state=0).fit_transform(X) for _ in range(2)
    )
    assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert_array_equal(np.random.get_state()[1], numpy_state[1])
    assert np.random.get_state()[2:] == numpy_state[2:]
    assert torch.equal(torch.get_rng_state(), torch_state)
    other = BCLEmbedder(max_epochs=3, random_state=1).fit_transform(X)
    assert not np.array_equal(first, other)


def test_seed_reaches_layers_that_use_the_global_generator(X):
    encoder = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 4))
    embedder = small(encoder=encoder)
    assert_array_equal(embedder.fit_transform(X), clone(embedder).fit_transform(X))


def test_draws_of_own_parts_are_seeded_and_isolated(X):
    class OwnEncoder(nn.Linear):
        center = 0.0

        def fit_statistics(self, rows, random_state, before):
            order = torch.randperm(len(rows))
            self.center = rows[order[:10]].mean(0)

        def forward(self, x):
            return super().forward(x - self.center)

    class OwnLoss(nn.Module):
        def forward(self, z1, z2):
            return (z1 - z2).square().mean() * torch.rand(())

    state = torch.get_rng_state()
    encoder = OwnEncoder(5, 4)
    torch.set_rng_state(state)
    embedders = [small(encoder=encoder, loss=OwnLoss()).fit(X) for _ in range(2)]
    assert_array_equal(*(embedder.transform(X) for embedder in embedders))
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_take_turns(X):
    encoder = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 4))
    embedder = small(encoder=encoder, max_epochs=2)
    expected = embedder.fit_transform(X)
    state = torch.get_rng_state()
    for embedding in joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(clone(embedder).fit_transform)(X) for _ in range(12)
    ):
        assert_array_equal(embedding, expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_augmentation_that_uses_the_global_generator(X):
    def careless(x, generator):
        return x + torch.randn_like(x)

    state = torch.get_rng_state()
    embedder = small(augmentation=careless).fit(X)
    assert embedder.score(X) == embedder.score(X)
    assert torch.equal(torch.get_rng_state(), state)


def test_encoder_is_in_evaluation_mode(X):
    encoder = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    embedder = small(encoder=encoder).fit(X)
    with torch.no_grad():
        embedding = embedder.encoder_(torch.from_numpy(X))
    assert_allclose(embedding, embedder.transform(X), rtol=1e-5, atol=1e-6)


def test_random_state_instance_draws_anew(X):
    rng = np.random.RandomState(0)
    first, second = (small(random_state=rng).fit_transform(X) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "params", [{}, {"n_components": 7, "hidden_layer_sizes": (33, 5)}]
)
def test_transform_in_chunks_is_bit_equal(digits, params):
    X = digits[0][:300]
    embedder = BCLEmbedder(**params, max_epochs=1, random_state=0).fit(X)
    expected = embedder.transform(X)
    for size in (1, 7, 256):
        chunks = [embedder.transform(X[i : i + size]) for i in range(0, len(X), size)]
        assert_array_equal(np.concatenate(chunks), expected)


# Input


def test_every_container_gives_the_same_embedding(X, tmp_path):
    expected = small().fit_transform(X)
    joblib.dump(X, tmp_path / "X.joblib")
    readonly = X.copy()
    readonly.flags.writeable = False
    for data in (
        X.tolist(),
        X.astype(np.float64),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        readonly,
        joblib.load(tmp_path / "X.joblib", mmap_mode="r"),
        torch.from_numpy(X),
        torch.from_numpy(X).double().requires_grad_(),
        pd.DataFrame(X, columns=list("abcde")),
    ):
        assert_array_equal(small().fit_transform(data), expected)


def test_sparse_rows(X):
    dense = X * (X > 0.5)
    expected = small().fit_transform(dense)
    for convert in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        embedding = small().fit_transform(convert(dense))
        assert_allclose(embedding, expected, rtol=1e-3, atol=1e-3)


def test_units_of_features_do_not_matter(X):
    scaled = X * np.array([1e-6, 1e-3, 1, 1e3, 1e6], dtype=np.float32)
    embedding = small().fit_transform(scaled)
    assert_allclose(embedding, small().fit_transform(X), rtol=1e-3, atol=1e-3)


def test_labels_never_matter(X):
    y = (X[:, 0] > 0).astype(int)
    expected = small().fit_transform(X)
    assert_array_equal(small().fit_transform(X, y), expected)
    assert_array_equal(
        small().fit(X, y[::-1]).partial_fit(X, y).transform(X),
        small().fit(X).partial_fit(X).transform(X),
    )
    # Not even ones that no parameter could read.
    assert_array_equal(small().fit_transform(X, [None] * 100), expected)


def test_one_constant_column_and_two_rows():
    X = np.ones((2, 1))
    assert np.isfinite(small().fit_transform(X)).all()
    assert np.isfinite(small().fit(X).transform([[1e6]])).all()


def test_batch_larger_than_the_data(X):
    embedder = small(batch_size=1000).fit(X)
    assert embedder.history_[:, "train_batch_count"] == [1, 1, 1]


# Output


def test_two_components_do_not_collapse(digits):
    X, _ = digits
    for seed in range(3):
        embedder = BCLEmbedder(
            n_components=2,
            hidden_layer_sizes=(64, 64),
            max_epochs=20,
            random_state=seed,
        )
        embedding = embedder.fit_transform(X)
        assert len(np.unique(embedding, axis=0)) == len(np.unique(X, axis=0))


def test_fitted_attributes(X):
    frame = pd.DataFrame(X, columns=list("abcde"))
    embedder = small().fit(frame)
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 3
    assert all(isinstance(loss, float) for loss in embedder.loss_curve_)
    assert embedder.n_features_in_ == 5
    assert_array_equal(embedder.feature_names_in_, list("abcde"))
    assert embedder.get_feature_names_out()[0] == "bclembedder0"
    assert len(embedder.get_feature_names_out()) == embedder.n_components_ == 8
    assert not hasattr(embedder, "validation_loss_curve_")
    embedding = embedder.encoder_(torch.from_numpy(X)).detach().numpy()
    assert_allclose(embedder.transform(frame), embedding, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotFittedError):
        _ = small().encoder_


def test_loss_decreases(digits):
    X, _ = digits
    curve = BCLEmbedder(max_epochs=10, random_state=0).fit(X).loss_curve_
    assert curve[-1] < curve[0] - 0.2


def test_verbose_shows_a_progress_bar(X, capsys):
    small().fit(X)
    assert capsys.readouterr() == ("", "")
    embedder = small(verbose=1).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "train_loss" in err
    pickle.dumps(embedder)


# Parameters


@pytest.mark.parametrize(
    ("name", "module_class", "priors"),
    [
        ("bcl", BCLLoss, {"tau_plus": 0.2, "alpha": 0.8, "beta": 0.7}),
        ("simclr", NTXentLoss, {}),
        ("dcl", DebiasedLoss, {"tau_plus": 0.2}),
        ("hcl", HardNegativeLoss, {"tau_plus": 0.2}),
    ],
)
def test_named_losses_take_the_priors(X, name, module_class, priors):
    parameters = {"temperature": 0.3, **priors}
    named = small(loss=name, **parameters).fit(X)
    expected = small(loss=module_class(**parameters)).fit(X)
    assert_array_equal(named.transform(X), expected.transform(X))
    # Priors that were not used are not published.
    for embedder in (named, expected):
        published = {
            prior: getattr(embedder, f"{prior}_")
            for prior in ("tau_plus", "alpha", "beta")
            if hasattr(embedder, f"{prior}_")
        }
        assert published == priors


def test_a_change_of_the_loss_takes_old_priors_away(X):
    embedder = small().fit(X)
    assert embedder.set_params(loss="simclr").fit(X).n_iter_ == 3
    assert not hasattr(embedder, "alpha_")


class SimCLR(BCLEmbedder):
    def __init__(self, n_components, random_state=None):
        super().__init__(
            n_components, loss="simclr", max_epochs=2, random_state=random_state
        )


def test_subclasses_with_other_parameters(X):
    embedder = SimCLR(7, random_state=0).fit(X)
    assert embedder.transform(X).shape == (100, 7)
    assert clone(embedder).partial_fit(X).n_iter_ == 1
    with pytest.raises(ValueError, match="but SimCLR is expecting 5 features"):
        embedder.transform(X[:, :3])


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("corruption", FeatureCorruption()),
        ("masking", FeatureMasking()),
        ("noise", GaussianNoise()),
    ],
)
def test_named_augmentations(X, name, default):
    expected = small(augmentation=default).fit_transform(X)
    assert_array_equal(small(augmentation=name).fit_transform(X), expected)


def test_optimizer_without_weight_decay(X):
    assert small(optimizer=torch.optim.Rprop).fit_transform(X).shape == (100, 8)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop])
def test_optimizers(X, optimizer):
    embedder = small(optimizer=optimizer, weight_decay=0.01).fit(X)
    (group,) = embedder._model.net.optimizer_.param_groups
    assert group["weight_decay"] == 0.01
    assert group["lr"] == 2e-3
    assert group.get("momentum", 0) == (0.9 if optimizer == "sgd" else 0)


def test_what_the_user_hands_in_is_not_trained(X):
    class Count(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.epochs += 1

    class LearnedTemperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_temperature = nn.Parameter(torch.zeros(()))

        def forward(self, z1, z2):
            similarity = nn.functional.cosine_similarity(z1, z2)
            return -(similarity / self.log_temperature.exp()).mean()

    encoder, loss, callback = nn.Linear(5, 4), LearnedTemperature(), Count()
    before = weights(encoder), weights(loss)
    embedder = small(encoder=encoder, loss=loss, callbacks=[callback])
    embedder.fit(X)
    assert callback.epochs == 0
    for module, state in zip((encoder, loss), before, strict=True):
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[key])
    assert not torch.equal(embedder.encoder_.weight, encoder.weight)
    assert embedder._model.net.criterion_.log_temperature != 0
    assert embedder.transform(X).shape == (100, 4)
    assert embedder.get_feature_names_out().tolist() == [
        f"bclembedder{i}" for i in range(4)
    ]
    # A clone starts from the same weights.
    assert_array_equal(clone(embedder).fit_transform(X), embedder.transform(X))


def test_callable_augmentation_and_nested_parameters(X):
    assert small(augmentation=noise).fit_transform(X).shape == (100, 8)
    embedder = small(augmentation=FeatureCorruption())
    embedder.set_params(augmentation__rate=0.9)
    assert embedder.augmentation.rate == 0.9
    assert clone(embedder).augmentation.rate == 0.9


def test_learning_rate_scheduler(X):
    scheduler = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1)
    embedder = small(callbacks=[("schedule", scheduler)], warm_start=True)
    for _ in range(2):  # it starts anew with a warm start
        (group,) = embedder.fit(X)._model.net.optimizer_.param_groups
        assert_allclose(group["lr"], 2e-6)


def test_learning_rate_of_tables_images_and_own_encoders(X):
    images = np.random.default_rng(0).random((8, 6, 6), dtype=np.float32)
    for parameters, rows, expected in (
        ({}, X, 0.002),
        ({"encoder": "mlp"}, X, 0.002),
        ({"encoder": nn.Linear(5, 4), "n_components": "auto"}, X, 0.001),
        ({"augmentation": noise, "encoder": "mlp"}, images, 0.001),
        ({"learning_rate": 0.1}, X, 0.1),
    ):
        if isinstance(parameters.get("encoder"), nn.Module):
            embedder = BCLEmbedder(max_epochs=1, **parameters)
        else:
            embedder = small(**parameters)
        assert embedder.fit(rows)._model.net.lr == expected


def test_skorch_callbacks(X, tmp_path, capsys):
    callbacks = [
        Checkpoint(dirname=tmp_path / "valid"),
        Checkpoint(dirname=tmp_path / "train", monitor="train_loss_best"),
        GradientNormClipping(1.0),
        ProgressBar(),
        PrintLog(),
    ]
    small(callbacks=callbacks, early_stopping=True, verbose=1).fit(X)
    assert (tmp_path / "valid" / "params.pt").exists()
    assert (tmp_path / "train" / "params.pt").exists()
    assert "train_loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"alpha": 1.0, "beta": 1.0}, "'alpha' and 'beta' cannot both be 1"),
        ({"alpha": 1.0, "tau_plus": 0.0}, "'alpha' cannot be 1 with 'tau_plus' 0"),
        ({"temperature": 0}, "'temperature' parameter of BCLEmbedder"),
        ({"tau_plus": "auto"}, "'tau_plus' parameter of BCLEmbedder"),
        ({"bin_weight": -1}, "'bin_weight' parameter of BCLEmbedder"),
        ({"loss": "ntxent"}, "'loss' parameter of BCLEmbedder"),
        ({"batch_size": 1}, "'batch_size' parameter of BCLEmbedder"),
        ({"hidden_layer_sizes": (16, 0)}, r"'hidden_layer_sizes'.*Got \(16, 0\)"),
        ({"hidden_layer_sizes": [[16]]}, "'hidden_layer_sizes'"),
        ({"augmentation": FeatureCorruption(2)}, "'augmentation'.*'rate' must be"),
        ({"augmentation": lambda x, generator: x[:1]}, r"'augmentation'.*\(1, 5\)"),
        ({"augmentation": lambda x, generator: None}, "'augmentation'.*NoneType"),
        ({"augmentation": FeatureCorruption}, r"'augmentation' must be called as f\(x"),
        ({"loss": nn.Linear(8, 4)}, "'loss' must be called as loss"),
        ({"loss": nn.PairwiseDistance()}, r"'loss' must return a scalar.*\(2,\)"),
        ({"hidden_layer_sizes": [[1, 2], 3]}, "'hidden_layer_sizes'"),
        ({"device": "gpu"}, "'device' 'gpu' cannot be used"),
        (
            {"early_stopping": True, "validation_fraction": 0.001},
            "'validation_fraction' 0.001 splits 100 samples into 99",
        ),
    ],
)
def test_invalid_parameters_lose_nothing(X, params, match):
    embedder = small().fit(X)
    expected = embedder.transform(X)
    embedder.set_params(**params)
    with pytest.raises(ValueError, match=match):
        embedder.fit(X)
    assert_array_equal(embedder.transform(X), expected)


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (nn.Linear(3, 4), r"'encoder' fails on rows of shape \(2, 5\)"),
        (nn.Flatten(0), r"'encoder' must return.*\(10,\)"),
        (OtherHeadInput(5, 4), r"'encoder' has a method head_input\(x\).*\(2, 5\)"),
        (NoStatistics(5, 4), r"'encoder' has a method fit_statistics.*no attribute"),
    ],
)
def test_invalid_encoders(X, encoder, match):
    with pytest.raises(ValueError, match=match):
        small(encoder=encoder).fit(X)


def test_every_device(X, device):
    y = np.arange(100) % 3
    embedder = small(device=device, alpha="labels", tau_plus="labels").fit(X, y)
    assert next(embedder.encoder_.parameters()).device.type == device.type
    embedding = embedder.transform(X)
    again = small(device=device, alpha="labels", tau_plus="labels").fit(X, y)
    assert_allclose(again.transform(X), embedding, rtol=1e-4, atol=1e-5)
    assert embedder.score(X) < 0
    assert embedder.true_negative_proba(X[:9], X).shape == (9, 100)
    embedder.partial_fit(X, y)
    # The same weights on the CPU make the same embedding.
    on_cpu = pickle.loads(pickle.dumps(embedder.set_params(device="cpu")))
    assert next(on_cpu.encoder_.parameters()).device.type == "cpu"
    assert_allclose(on_cpu.transform(X), embedder.transform(X), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_gpu_is_a_clear_error(X):
    with pytest.raises(ValueError, match="'device' 'cuda' cannot be used on this"):
        small(device="cuda").fit(X)


def test_divergence_is_an_error_and_loses_nothing(X):
    def broken(x, generator):  # but not on the two rows of the trial
        return x * float("nan") if len(x) > 2 else x + 1

    embedder = small().fit(X)
    expected = embedder.transform(X)
    embedder.set_params(augmentation=broken)
    with pytest.raises(ValueError, match=r"nan in batch 1 of epoch 1.*'learning_rate'"):
        embedder.fit(X[:, :3])
    assert embedder.n_features_in_ == 5
    assert_array_equal(embedder.transform(X), expected)


def test_complex_tensors_are_refused(X):
    with pytest.raises(ValueError, match="Complex data not supported"):
        small().fit(torch.complex(torch.from_numpy(X), torch.from_numpy(X)))


@pytest.mark.parametrize("bad", [np.inf, 1e300])
def test_invalid_values_of_X(X, bad):
    X = X.astype(np.float64)
    X[3, 2] = bad
    with pytest.raises(ValueError, match="infinity"):
        small().fit(X)


def test_rows_of_many_columns_go_in_smaller_batches():
    X = np.random.RandomState(0).normal(size=(450, 10_000)).astype(np.float32)
    embedder = small(max_epochs=1).fit(X[:20])
    whole = embedder.transform(X)  # in batches of 416 rows
    assert_array_equal(whole[430:], embedder.transform(X[430:]))


# score


def test_score(digits):
    X, _ = digits
    short, long = (
        BCLEmbedder(max_epochs=epochs, random_state=0).fit(X[:1000])
        for epochs in (1, 10)
    )
    assert short.score(X[1000:]) < long.score(X[1000:]) < 0
    assert long.score(X[1000:]) == long.score(X[1000:])
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        long.score(X[:1])


def test_score_does_not_depend_on_the_loss_s_own_scale(X):
    # One epoch of no learning: only the loss differs, not the projections.
    scores = {
        small(learning_rate=1e-20, max_epochs=1, **params).fit(X).score(X)
        for params in (
            {},
            {"loss": "simclr", "temperature": 0.1},
            {"tau_plus": 0.5, "alpha": 0.6, "beta": 0.2},
            {"batch_size": 7},
        )
    }
    assert len(scores) == 1


def test_score_is_the_plain_ntxent_loss(X):
    embedder = small(augmentation=lambda x, generator: x).fit(X)
    module = embedder._model.net.module_.eval()
    with torch.no_grad():
        z = module(torch.from_numpy(X))
        expected = -NTXentLoss(0.5)(z, z).item()
    assert_allclose(embedder.score(X), expected, rtol=1e-5)


def test_score_is_the_mean_over_rows():
    # 300 rows make two batches, of 150 rows each, whose losses differ.
    X = np.random.RandomState(0).normal(size=(300, 3)).astype(np.float32)
    embedder = small(augmentation=lambda x, generator: x).fit(X)
    module = embedder._model.net.module_.eval()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batches = [module(torch.from_numpy(X)[rows]) for rows in order.chunk(2)]
        expected = -np.mean([NTXentLoss(0.5)(z, z).item() for z in batches])
    assert_allclose(embedder.score(X), expected, rtol=1e-5)


# scikit-learn around it


def test_a_pickle_holds_no_data(digits):
    X, _ = digits
    embedder = small(batch_size=200)  # each batch has an entry in the history
    large = pickle.dumps(embedder.fit(X))
    assert len(large) - len(pickle.dumps(embedder.fit(X[:200]))) < 2000


def test_a_pickle_is_on_the_cpu(X):
    # "cpu:0" stands for a GPU: torch takes it for another device than "cpu".
    embedder = small(device="cpu:0").fit(X)
    net = embedder._model.net
    assert pickle.loads(pickle.dumps(net)).device == "cpu"
    assert net.device == "cpu:0"
    copy = pickle.loads(pickle.dumps(embedder))
    assert copy._model.net.device == "cpu:0"  # as the parameter asks
    assert_array_equal(copy.transform(X), embedder.transform(X))
    assert copy.partial_fit(X).n_iter_ == embedder.n_iter_ + 1


def test_deep_copies_and_pickles_are_equal(X):
    embedder = small().fit(X)
    copy = pickle.loads(pickle.dumps(embedder))
    assert_array_equal(copy.transform(X), embedder.transform(X))
    assert copy.encoder_ is copy._model.net.module_.encoder
    assert copy.score(X) == embedder.score(X)


def test_the_default_dtype_of_torch_does_not_count(X):
    embedder = small().fit(X)
    expected = embedder.transform(X)
    torch.set_default_dtype(torch.float64)
    try:
        embedding = embedder.transform(X)
    finally:
        torch.set_default_dtype(torch.float32)
    assert embedding.dtype == np.float32
    assert_array_equal(embedding, expected)
