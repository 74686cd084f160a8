"""BCLEmbedder: contrastive representation learning as a scikit-learn transformer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import Tensor, nn

from sklearn_bcl._ambient import standard_torch
from sklearn_bcl._data.rows import MIN_BATCH_ROWS
from sklearn_bcl._interrupts import Interrupts
from sklearn_bcl._model import Model
from sklearn_bcl._net import Augmentation
from sklearn_bcl._parameters import (
    check_same_fit,
    hold_out,
    make_net,
    read_rows,
    share_random_state,
    unchanged_on_error,
)
from sklearn_bcl._parts import AUGMENTATIONS, ENCODERS, LOSSES, OPTIMIZERS
from sklearn_bcl._posterior import PosteriorMixin
from sklearn_bcl._processes import share_of_fit
from sklearn_bcl._saving import SavingMixin
from sklearn_bcl._sklearn_compat import Interval, StrOptions, fit_context
from sklearn_bcl.losses import LEAST_TEMPERATURE, ContrastiveLoss

__all__ = ["BCLEmbedder"]

_AUTO = StrOptions({"auto"})
OPTIONAL_ATTRIBUTES = (  # a fit may lack them
    "feature_names_in_",
    "is_categorical_",
    "categories_",
    "validation_loss_curve_",
    "tau_plus_",
    "alpha_",
    "beta_",
)

# What `X` may be; sparse matrices and DataFrames are array-like to NumPy's hints.
Table = ArrayLike | Tensor
Augmentations = str | Augmentation | Sequence[str | Augmentation | None]


def _trains_single_epochs(embedder: BCLEmbedder) -> bool:
    if embedder.early_stopping:
        raise AttributeError(
            "partial_fit trains one epoch at a time and cannot stop early: set "
            "early_stopping=False, or use fit."
        )
    return True


class BCLEmbedder(
    PosteriorMixin,
    SavingMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Embed unlabeled rows by Bayesian contrastive learning.

    Training draws two random views of each row. The encoder learns similar projections
    for the two views of a row, and dissimilar projections for different rows [1]_. By
    default, another row is weighted by its probability to be a true negative, i.e. to
    have another latent class. The output of the encoder is the embedding. Labels are
    ignored unless a parameter asks for labels.

    Parameters
    ----------
    Representation
        The embedding and the network that computes it.
    n_components : int or "auto", default="auto"
        Size of the embedding. "auto" is 256 with the encoder "mlp" and 2048 with
        "convnet". A ResNet or a custom encoder determines the size itself.
    encoder : {"auto", "mlp", "convnet", "resnet18", "resnet50"}, torch.nn.Module \
            or callable, default="auto"
        Network of the embedding. "auto" is "mlp" for tables and "convnet" for images.

        - "mlp" is :class:`~sklearn_bcl.encoders.MLPEncoder`, which also scales the
          features. "convnet" is :class:`~sklearn_bcl.encoders.ConvNetEncoder`.
        - "resnet18" and "resnet50" are networks of torchvision (extra ``vision``) for
          small images, with embeddings of size 512 and 2048.
        - A module is copied and may be pretrained. A class or a function without
          arguments returns a new module. The module maps float32 rows ``(n,
          n_features)``, not scaled, or images ``(n, channels, height, width)`` to ``(n,
          size)``. For tables with categories or missing values, the module receives
          the features of :class:`~sklearn_bcl.encoders.TableInput`.
    hidden_layer_sizes : array-like of int, default=(256, 256)
        Sizes of the hidden layers of the encoder "mlp". With an empty tuple, it
        is a linear map.
    projection_size : int, default=128
        Size of the projections that the loss compares. `transform` does not use them.

    Views
        What a row is, and how its random views are drawn.
    augmentation : {"auto", "corruption", "masking", "noise", "images"}, callable \
            or tuple of two, default="auto"
        How the views of a batch of rows are drawn. "auto" is "corruption" [2]_ for
        tables and "images" for images.

        - The names stand for :class:`~sklearn_bcl.augmentations.FeatureCorruption`,
          :class:`~sklearn_bcl.augmentations.FeatureMasking`,
          :class:`~sklearn_bcl.augmentations.GaussianNoise` and
          :class:`~sklearn_bcl.augmentations.ImageAugmentation` (extra ``vision``).
        - A callable is an instance of these classes with another strength, or a custom
          function ``f(x, generator)`` as :mod:`sklearn_bcl.augmentations` describes.
        - A pair draws the first and the second view in different ways. None in a pair
          leaves the rows unchanged.
    categorical_features : "from_dtype", array-like of {bool, int, str} or None, \
            default="from_dtype"
        Which columns hold categories: a mask, indices or names. "from_dtype" selects
        the categorical, string and boolean columns of a DataFrame, and no column of an
        array. None selects no column.
    image_shape : tuple of int or None, default=None
        Shape of one image, ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``, to reshape flat
        rows. With None, an `X` of two dimensions is a table, and an `X` of three or
        four dimensions holds images. Pixels of dtype uint8 are divided by 255.
    channel_order : {"auto", "first", "last"}, default="auto"
        Position of the channel axis in an image of three dimensions. "auto" selects
        the first or last axis, whichever has size 1, 3 or 4.

    Loss and priors
        How the views are compared.
    loss : {"bcl", "simclr", "dcl", "hcl"} or torch.nn.Module, default="bcl"
        Loss of the projections of the two views. The names stand for
        :class:`~sklearn_bcl.losses.BCLLoss`, :class:`~sklearn_bcl.losses.NTXentLoss`,
        :class:`~sklearn_bcl.losses.DebiasedLoss` and
        :class:`~sklearn_bcl.losses.HardNegativeLoss`.

        A module has its own parameters. It is called as ``loss(z1, z2)`` with two
        tensors ``(n, projection_size)`` that are not normalized. If its ``forward`` has
        an argument ``y``, it is called as ``loss(z1, z2, y=y)`` with the labels of
        `fit`: a tensor ``(n,)`` of int64, or of float32 for floats. Strings become
        codes in sorted order, and -1 means no label. `fit` requires labels unless ``y``
        has a default.
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1) or "labels", default=0.1
        Class prior of "bcl", "dcl" and "hcl": probability that another row is a false
        negative, i.e. has the same latent class. For k classes of equal size, it is
        1 / k. "labels" is the sum of the squared class frequencies in `y`. `tau_plus`
        has no effect on "bcl" at ``alpha=0.5``.
    alpha : float in [0.5, 1] or "labels", default=0.9
        Location parameter of "bcl": the ranking quality of the encoder, as in
        :func:`~sklearn_bcl.bayes.importance_weights`. 0.5 is a random ranking. "labels"
        measures alpha on labeled rows before training, every 20 epochs and at the end
        (:class:`~sklearn_bcl.callbacks.MeasuredAlpha`). 1 requires ``tau_plus > 0`` and
        ``beta < 1``.
    beta : float in (0, 1], default=0.5
        Concentration parameter of "bcl": hardness of the negatives. 0.5 weights a
        sample by its probability to be a true negative. Larger values give similar
        samples more weight (hard negative mining), smaller values give them less.
    bin_weight : float >= 0, default=0.3
        Weight of a second loss, for tables only. From the embedding of a view, a linear
        map predicts which of 8 quantile bins each number of the row belongs to [3]_.
        Each step predicts 16 random columns, among 512 of them at most. 0 removes
        this loss, which is not part of the paper.

    Optimization
        How the encoder is trained.
    learning_rate : float > 0 or "auto", default="auto"
        Step size of the optimizer. "auto" is 0.002 for tables with "mlp", else 0.001.
    weight_decay : float >= 0, default=1e-6
        L2 penalty of the optimizer. For "adamw", it is the decoupled weight decay.
    optimizer : {"adam", "adamw", "sgd"} or subclass of torch.optim.Optimizer, \
            default="adam"
        Optimizer of the weights. "sgd" has a momentum of 0.9.
    batch_size : int >= 2, default=256
        Number of rows in a batch. Each row is compared with all other rows of its
        batch. A last batch of a single row is dropped.
    max_epochs : int or "auto", default="auto"
        Maximum number of passes over the rows. "auto" is 200 with `early_stopping`.
        Otherwise, it is min(80, 80 sqrt(3750 / n)) for a table of n rows with "mlp",
        and min(200, 200 sqrt(2400 / n)) for other fits; rounded up, and at least 10.

    Stopping
        The last three of these parameters act only with ``early_stopping=True``.
    early_stopping : bool, default=False
        Whether to hold out rows and stop when their loss no longer improves. The
        weights of the best epoch are kept. Neither ``alpha="labels"`` nor callbacks
        that change alpha are allowed.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the rows to hold out.
    n_iter_no_change : int, default=10
        Number of epochs without improvement after which training stops.
    tol : float >= 0, default=1e-4
        Smallest decrease of the held-out loss that counts as an improvement.

    Running
        Callbacks, device, random numbers and output.
    callbacks : list of skorch callbacks or None, default=None
        Callbacks of :mod:`sklearn_bcl.callbacks` or of skorch, such as
        :class:`skorch.callbacks.LRScheduler`. Each fit copies the callbacks. The
        history has losses of epochs (``train_loss``, ``valid_loss``), not of batches.
        Callbacks that score predictions, such as ``EpochScoring``, are an error.
    device : str or torch.device, default="auto"
        Device of the training. "auto" is a CUDA GPU if available, else the CPU.
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the last fit. The optimizer, the
        scales of the features and the bins start anew. The categories, and which
        columns have missing values, stay as in the first fit.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the order of the rows, the views and the held-out
        rows. With an int, two fits on the same CPU and number of threads are bit-equal,
        and no global random generator changes.
    verbose : int, default=0
        With 1, a progress bar is shown, and callbacks of skorch print.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        Trained encoder in evaluation mode. It maps float32 rows, or images ``(n,
        channels, height, width)``, to embeddings. It reads the index of a category.
    history_ : skorch.history.History
        Records of each epoch of the last `fit` or `partial_fit`, such as
        ``history_[:, "train_loss"]``.
    tau_plus_, alpha_, beta_ : float
        Priors of the loss at the end of the fit: given, or measured on labels. An
        attribute is missing if the loss has no such prior.
    n_components_ : int
        Size of the embedding.
    n_iter_ : int
        Number of epochs, including earlier warm starts and calls of `partial_fit`.
    loss_curve_ : list of float
        Mean training loss of each epoch, including the loss of the bins.
    validation_loss_curve_ : list of float
        Loss on the held-out rows of each epoch. Missing without `early_stopping`.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Missing unless all column names of `X` are strings.
    is_categorical_ : ndarray of bool, shape (`n_features_in_`,)
        Which columns of a table hold categories. Missing for images.
    categories_ : list of list
        Frequent categories of each column of categories, in the order of appearance.

    See Also
    --------
    sklearn_bcl.losses : The losses, for any PyTorch training loop.
    sklearn_bcl.bayes : The importance weights and posteriors of the Bayesian model.
    sklearn_bcl.callbacks : Callbacks for checkpoints and for an alpha that changes.

    Notes
    -----
    A parameter that is set but has no effect is an error, such as ``tau_plus=0.4``
    with ``loss="simclr"``. A parameter at its default is never an error.

    The encoder computes in float32. Columns that float32 cannot resolve, such as time
    stamps or values near 1e-40, are first centered and scaled in float64.

    Ctrl-C during `fit` raises ``KeyboardInterrupt`` after the current batch. The last
    complete epoch is kept. A second Ctrl-C raises at once.

    `fit` has no ``sample_weight``: the loss compares the rows of a batch, so a row of
    weight 2 would differ from a row that occurs twice.

    References
    ----------
    .. [1] Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
       arXiv:2301.11673.
    .. [2] Bahri et al. (2022). SCARF: Self-Supervised Contrastive Learning using
       Random Feature Corruption. arXiv:2106.15147.
    .. [3] Lee et al. (2024). Binning as a Pretext Task. arXiv:2405.07414.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> X, _ = load_iris(return_X_y=True)
    >>> embedder = BCLEmbedder(n_components=8, max_epochs=5, random_state=0)
    >>> embedder.fit_transform(X).shape
    (150, 8)
    >>> len(embedder.loss_curve_)
    5
    """

    history_: History
    loss_curve_: list[float]
    n_components_: int
    _model: Model

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "encoder": [StrOptions(set(ENCODERS)), nn.Module, callable],
        "hidden_layer_sizes": ["array-like"],
        "projection_size": [Interval(Integral, 1, None, closed="left")],
        "augmentation": [StrOptions({"auto", *AUGMENTATIONS}), callable, tuple, list],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "image_shape": ["array-like", None],
        "channel_order": [StrOptions({"auto", "first", "last"})],
        "loss": [StrOptions(set(LOSSES)), nn.Module],
        "temperature": [Interval(Real, LEAST_TEMPERATURE, None, closed="left")],
        "tau_plus": [Interval(Real, 0, 1, closed="left"), StrOptions({"labels"})],
        "alpha": [Interval(Real, 0.5, 1, closed="both"), StrOptions({"labels"})],
        "beta": [Interval(Real, 0, 1, closed="right")],
        "bin_weight": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "batch_size": [Interval(Integral, MIN_BATCH_ROWS, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str, torch.device],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        encoder: str | nn.Module | Callable[[], nn.Module] = "auto",
        hidden_layer_sizes: Sequence[int] = (256, 256),
        projection_size: int = 128,
        augmentation: Augmentations = "auto",
        categorical_features: Any = "from_dtype",
        image_shape: Sequence[int] | None = None,
        channel_order: Literal["auto", "first", "last"] = "auto",
        loss: str | nn.Module = "bcl",
        temperature: float = 0.5,
        tau_plus: float | Literal["labels"] = 0.1,
        alpha: float | Literal["labels"] = 0.9,
        beta: float = 0.5,
        bin_weight: float = 0.3,
        learning_rate: float | Literal["auto"] = "auto",
        weight_decay: float = 1e-6,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adam",
        batch_size: int = 256,
        max_epochs: int | Literal["auto"] = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Sequence[Any] | None = None,
        device: str | torch.device = "auto",
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.projection_size = projection_size
        self.augmentation = augmentation
        self.categorical_features = categorical_features
        self.image_shape = image_shape
        self.channel_order = channel_order
        self.loss = loss
        self.temperature = temperature
        self.tau_plus = tau_plus
        self.alpha = alpha
        self.beta = beta
        self.bin_weight = bin_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Table, y: ArrayLike | None = None) -> BCLEmbedder:
        """Train the encoder on unlabeled rows.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_samples, n_features)
            Training rows, at least 2, or images of three or four dimensions. NaN is a
            missing value of a table; so are None and NA in a DataFrame. Rows may also
            come from a map-style dataset or an array of h5py or Zarr.
        y : array-like of shape (n_samples,), default=None
            Labels, with -1 for no label. Ignored unless `tau_plus` or `alpha` is
            "labels", or the loss or a callback takes labels.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, if a parameter that is set has no
            effect, or if training diverges. The estimator then stays as before.
        TypeError
            If `X` is an object that cannot hold rows.
        ImportError
            If an encoder or augmentation needs a package that is not installed.
        """
        return self._fit(X, y, incremental=False)

    @available_if(_trains_single_epochs)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Table, y: ArrayLike | None = None) -> BCLEmbedder:
        """Train the encoder for one epoch on some of the rows.

        The weights and the state of the optimizer continue from the last call. The
        scales of the features are averages over all calls, weighted by the number of
        rows. The first call determines the categories of each column, and which
        columns have missing values.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_samples, n_features)
            Training rows or images, at least 2. Rows of different calls are never
            compared, so large calls are better.
        y : array-like of shape (n_samples,), default=None
            Labels of these rows, as in `fit`.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        AttributeError
            If ``early_stopping=True``, which needs more than one epoch.
        ValueError, TypeError, ImportError
            As in `fit`.
        """
        return self._fit(X, y, incremental=True)

    def transform(self, X: Table) -> NDArray[np.float32]:
        """Embed rows with the trained encoder.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_samples, n_features)
            Rows or images to embed.

        Returns
        -------
        embedding : ndarray of float32, shape (n_samples, n_components)
            Output of the encoder, not normalized. A row's embedding does not depend on
            the other rows, exactly with "mlp" on a CPU, else up to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` is invalid, or its rows differ in kind from the rows of the fit.
        """
        return self._fitted_model().embed(X)

    def score(self, X: Table, y: object = None) -> float:
        """Return the negative mean NT-Xent loss of rows, at temperature 0.5.

        The score is plain NT-Xent (SimCLR) on the projections of two augmented views,
        whatever the loss of the fit. Batches have about 256 rows, and the views are the
        same at each call. A search without labels can thus compare priors,
        temperatures, learning rates, epochs or networks under one `augmentation`.

        The score cannot compare augmentations: weaker views score higher. It cannot
        compare scores of different rows. It favors settings close to
        ``loss="simclr", temperature=0.5``. A higher score does not imply a better
        downstream model. With labels, search over the accuracy of a pipeline.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_samples, n_features)
            Rows or images to score, at least 2.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` is invalid or has a single row, or its rows differ in kind from the
            rows of the fit.
        """
        return self._fitted_model().score(X)

    @property
    def encoder_(self) -> nn.Module:
        encoder: nn.Module = self._fitted_model().net.module_.encoder
        return encoder

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _fitted_model(self) -> Model:
        """Return the model of the last fit.

        A method asks once in a call, as another thread may replace the model meanwhile.
        """
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # which takes as long as a layer of the encoder
        return self._model

    def _fit(self, X: Table, y: ArrayLike | None, *, incremental: bool) -> BCLEmbedder:
        # Below, nobody reads a parameter from the estimator.
        values = {name: getattr(self, name) for name in DEFAULTS}
        parameters = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in values.items()
        }
        if incremental:
            parameters["max_epochs"] = 1
        before = None
        if incremental or self.warm_start:
            before = getattr(self, "_model", None)
        row_format, random_state = None, check_random_state(self.random_state)
        if before is not None:
            row_format, random_state = before.format, before.random_state
        with (
            Interrupts() as interrupts,  # raises one that came after all is published
            unchanged_on_error(random_state),
            standard_torch(grad=True),
            share_of_fit() as share,
        ):
            random_state = share_random_state(share, random_state, parameters)
            owner = type(self).__name__
            rows = read_rows(X, y, parameters, DEFAULTS, row_format, incremental, owner)
            train, held_out = hold_out(rows, parameters, random_state)
            seed = random_state.randint(np.iinfo(np.int32).max)
            net = make_net(parameters, train, seed)
            net_before = before and before.net
            net.continue_from(net_before, with_optimizer=incremental)
            check_same_fit(share, net, train, seed)
            net.fit_statistics(
                train, seed, random_state, net_before if incremental else None
            )
            net.fit_rows(train, held_out, seed=seed, interrupts=interrupts, share=share)
            share.exchange("has trained")
            model = Model(net, rows.format, random_state, parameters)
            self._publish(model, goes_on=before is not None)
        return self

    def _publish(self, model: Model, *, goes_on: bool) -> None:
        """Set the fitted attributes, all at once, here and nowhere else."""
        net, row_format = model.net, model.format
        fitted: dict[str, Any] = {
            "history_": net.history,
            "n_components_": net.module_.n_components,
            "n_features_in_": row_format.n_features,
            "_model": model,
        }
        if row_format.feature_names is not None:
            names = np.array(row_format.feature_names, dtype=object)
            fitted["feature_names_in_"] = names
        if (columns := row_format.columns) is not None:
            fitted["is_categorical_"] = columns.is_categorical
            fitted["categories_"] = [list(part.frequent) for part in columns.categories]
        curves = {"loss_curve_": "train_loss", "validation_loss_curve_": "valid_loss"}
        for attribute, key in curves.items():
            curve = getattr(self, attribute, []) if goes_on else []
            curve = curve + [epoch[key] for epoch in net.history if key in epoch]
            if curve or attribute == "loss_curve_":
                fitted[attribute] = curve
        fitted["n_iter_"] = len(fitted["loss_curve_"])
        if isinstance(loss := net.criterion_, ContrastiveLoss):
            priors = ("tau_plus", "alpha", "beta")
            fitted |= {
                f"{name}_": float(getattr(loss, name))
                for name in priors
                if hasattr(loss, name)
            }
        kept = {k: v for k, v in vars(self).items() if k not in OPTIONAL_ATTRIBUTES}
        self.__dict__ = {**kept, **fitted}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.image_shape is None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(BCLEmbedder).parameters.items()
}
