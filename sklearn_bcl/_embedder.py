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

    An encoder is trained on two random views of each row. The projections of the two
    views become similar, and those of different rows dissimilar. Another row counts by
    how likely it is a true negative, a row of another kind. The output of the encoder
    is the embedding. No labels are used, unless a parameter asks for them.

    Parameters
    ----------
    Representation
        The embedding, and the network that makes it.
    n_components : int or "auto", default="auto"
        Size of the embedding. "auto" is 256 with the encoder "mlp" and 2048 with
        "convnet". A ResNet and an encoder of your own have an output of their own size.
    encoder : {"auto", "mlp", "convnet", "resnet18", "resnet50"}, torch.nn.Module \\
            or callable, default="auto"
        Network from rows to embeddings. "auto" is "mlp" for tables and "convnet" for
        images.

        - "mlp" is :class:`~sklearn_bcl.encoders.MLPEncoder`, which scales and clips the
          features, and "convnet" :class:`~sklearn_bcl.encoders.ConvNetEncoder`.
        - The ResNets are torchvision's (extra ``vision``) with a 3x3 stem for small
          images. They have 512 and 2048 components.
        - A module is copied, and may be pretrained. A class or a function without
          arguments makes a new one. It maps float32 rows ``(n, n_features)``, as they
          are given, or images ``(n, channels, height, width)`` to ``(n, size)``. Of a
          table with categories or missing values, it gets the features of
          :class:`~sklearn_bcl.encoders.TableInput`.
    hidden_layer_sizes : array-like of int, default=(256, 256)
        Sizes of the hidden layers of the "mlp" encoder. An empty tuple leaves its
        linear map alone.
    projection_size : int, default=128
        Size of the projections that the loss compares. They are the output of a head
        that only training uses.

    Views
        What is compared with what.
    augmentation : {"auto", "corruption", "masking", "noise", "images"}, callable \\
            or tuple of two of them, default="auto"
        How a random view of a batch of rows is drawn:
        :class:`~sklearn_bcl.augmentations.FeatureCorruption`,
        :class:`~sklearn_bcl.augmentations.FeatureMasking`,
        :class:`~sklearn_bcl.augmentations.GaussianNoise` or
        :class:`~sklearn_bcl.augmentations.ImageAugmentation` (extra ``vision``) with
        their default strength, or an instance with another one. "auto" is "corruption"
        for tables and "images" for images. Your own is picklable and called as
        ``f(x, generator)``, with a float32 tensor of rows (categories are codes,
        missing values NaN) and a :class:`torch.Generator` on its device; it returns a
        new tensor of the same shape. A pair draws the two views in different ways; None
        in a pair leaves the rows as they are.
    categorical_features : "from_dtype", array-like of {bool, int, str} or None, \
            default="from_dtype"
        Which columns hold categories. "from_dtype" takes the categorical, string and
        boolean columns of a DataFrame, and none of an array. Otherwise, names or
        indices of columns, a mask, or None for no column. Views redraw a category as
        one, and :class:`~sklearn_bcl.encoders.TableInput` makes features of it.
    image_shape : tuple of int or None, default=None
        Shape of one image, ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``, to which flat
        rows are reshaped. None takes rows as they are: two dimensions of `X` make a
        table, three or four make images. An encoder fitted on uint8 images sees their
        pixels divided by 255, one fitted on others as they are.
    channel_order : {"auto", "first", "last"}, default="auto"
        Where the channels of 3D images are. "auto" finds an axis of 1, 3 or 4.

    Loss and priors
        How the views are compared.
    loss : {"bcl", "simclr", "dcl", "hcl"} or torch.nn.Module, default="bcl"
        :class:`~sklearn_bcl.losses.BCLLoss`, :class:`~sklearn_bcl.losses.NTXentLoss`,
        :class:`~sklearn_bcl.losses.DebiasedLoss` or
        :class:`~sklearn_bcl.losses.HardNegativeLoss`, with the parameters below that it
        has. A module brings its own parameters. It is called as ``loss(z1, z2)`` with
        the projections of both views, of shape ``(n, projection_size)``, not
        normalized. If its ``forward`` has an argument ``y``, it is called as
        ``loss(z1, z2, y=y)`` with the labels given to `fit`, which needs them unless
        ``y`` has a default: a tensor ``(n,)`` of int64, or float32 if they are floats.
        Labels that are no numbers become codes in their order, -1 means none.
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1) or "labels", default=0.1
        Class prior of "bcl", "dcl" and "hcl": probability that another row is a false
        negative, i.e. has the same latent class; about 1 / number of classes. "labels"
        is the sum of the squared shares of the classes in `y`. It has no effect on
        "bcl" at ``alpha=0.5``. At 0, "bcl" with ``beta=0.5`` is "simclr".
    alpha : float in [0.5, 1] or "labels", default=0.9
        Location of "bcl": probability that the similarity of a positive exceeds that
        of a negative. "labels" measures it on the labeled rows, before training, every
        20 epochs, in each call of `partial_fit`, and at last
        (:class:`~sklearn_bcl.callbacks.MeasuredAlpha`). 1 is allowed with
        ``tau_plus > 0`` and ``beta < 1`` only.
    beta : float in (0, 1], default=0.5
        Concentration of "bcl": hardness of the negatives. 0.5 means no hard negative
        mining: each sample counts by how likely it is a true negative. Above, hard
        ones count more, at 1 the most; below, easy ones, of which fewest are false.
    bin_weight : float >= 0, default=0.3
        Weight of a second loss beside any `loss`, for tables. A linear map predicts in
        which of 8 quantile bins each number of a row is, from the embedding of a view
        [3]_. Categories are not predicted; of more than 16 numbers, a random 16
        in each step, and of more than 512 always some of the same 512. At 0, there is
        `loss` alone, as in the paper.

    Optimization
        How the encoder is trained.
    learning_rate : float > 0 or "auto", default="auto"
        Step size of the optimizer. "auto" is 0.002 for tables with the encoder "mlp"
        and 0.001 otherwise.
    weight_decay : float >= 0, default=1e-6
        L2 penalty of the optimizer ("adamw": decoupled weight decay).
    optimizer : {"adam", "adamw", "sgd"} or subclass of torch.optim.Optimizer, \\
            default="adam"
        Optimizer; "sgd" has a momentum of 0.9.
    batch_size : int >= 2, default=256
        Rows in a batch. Each is compared with all others of its batch. If there are
        fewer training rows, all of them make one batch; a last batch of one row is
        left out.
    max_epochs : int or "auto", default="auto"
        Number of passes over the training rows, at most. "auto" is 100 for tables with
        the encoder "mlp" and 200 otherwise. For more than 2,400 rows, it falls with the
        root of their number, to half that for 9,600 and at last 10. With
        `early_stopping`, it is 200.

    Stopping
        The other three act with ``early_stopping=True`` only.
    early_stopping : bool, default=False
        Whether to hold out rows and stop when the loss on them no longer improves. The
        encoder of the best epoch is kept. It does not go with an alpha that changes.
    validation_fraction : float in (0, 1), default=0.1
        Share of rows held out.
    n_iter_no_change : int, default=10
        Epochs without improvement that end training.
    tol : float >= 0, default=1e-4
        Least decrease of the held-out loss that counts as improvement.

    Running
        Everything around the training.
    callbacks : list of skorch callbacks or None, default=None
        Such as :class:`skorch.callbacks.LRScheduler` or those of
        :mod:`sklearn_bcl.callbacks`. They are copied, and start anew at each call. They
        see the losses of an epoch (``train_loss``, ``valid_loss``), not of a batch.
        Those that score predictions (:class:`skorch.callbacks.EpochScoring`) do not
        apply.
    device : str or torch.device, default="auto"
        Where to train. "auto" is a CUDA GPU where there is one, else the CPU.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit instead of new ones. The
        optimizer, the constants that scale the features and the bins start anew;
        categories, and which columns have missing values, stay those of the first fit.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the order of rows, of the views and of the
        held-out rows. With an int, two fits on the same CPU give bit-equal
        embeddings, and no global generator is changed.
    verbose : int, default=0
        1 shows a progress bar, and lets skorch's callbacks print.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The trained encoder, a plain module in evaluation mode, from float32 rows, or
        images of shape ``(n, channels, height, width)``, to embeddings. Categories are
        codes there, their places in `categories_`.
    history_ : skorch.history.History
        What the last call of `fit` or `partial_fit` recorded in each epoch:
        ``history_[:, "train_loss"]``.
    tau_plus_, alpha_, beta_ : float
        Priors of the loss at the end of the fit: given, measured on labels, or those of
        your own loss. A loss without one of these has no such attribute.
    n_components_ : int
        Size of the embedding.
    n_iter_ : int
        Number of epochs trained, over all warm starts and `partial_fit` calls.
    loss_curve_ : list of float
        Mean training loss of each epoch, that of the bins included.
    validation_loss_curve_ : list of float
        The same on the rows that `early_stopping` held out; missing without it.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all names of `X` were strings.
    is_categorical_ : ndarray of bool, shape (n_features_in_,)
        Which columns of a table hold categories.
    categories_ : list of list
        The frequent categories of each of these columns, as they appeared.

    See Also
    --------
    sklearn_bcl.losses : The losses, for use in any PyTorch training loop.
    sklearn_bcl.bayes : The Bayesian importance weights and posteriors.
    sklearn_bcl.callbacks : Priors that change during training.

    Notes
    -----
    A parameter that is set but cannot act, such as ``tau_plus=0.4`` beside
    ``loss="simclr"``, is an error. One at its default value is not.

    Rows are computed in float32. A column that float32 would not hold, such as time
    stamps or values of 1e-40, is centered and scaled by constants in float64 before.

    An interrupt (Ctrl-C) during `fit` is raised after the current batch, and the
    estimator is as after the last complete epoch. A second one is raised at once.

    `fit` takes no ``sample_weight``: a row of weight two is not the same as a row
    given twice in a loss that compares the rows of a batch.

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
            Training rows, at least 2, or images, of three or four dimensions. NaN, in a
            DataFrame also None and NA, is a missing value of a table. Rows may also be
            read from a map-style dataset or an array of h5py or Zarr.
        y : array-like of shape (n_samples,), default=None
            Labels, -1 where there is none. Ignored, unless `tau_plus` or `alpha` is
            "labels", or `loss` or one of the `callbacks` takes labels.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, a parameter is set that cannot act,
            or the loss stops being finite. The estimator is then as it was before.
        """
        return self._fit(X, y, incremental=False)

    @available_if(_trains_single_epochs)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Table, y: ArrayLike | None = None) -> BCLEmbedder:
        """Train the encoder for one epoch on a batch of rows.

        Weights and the state of the optimizer go on from the last call; the constants
        that scale the features are averages over all calls, weighed by their rows. The
        categories of columns, and which have missing values, are those of the first.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_samples, n_features)
            Training rows or images, at least 2. Rows of different calls are never
            compared, so the more, the better.
        y : array-like of shape (n_samples,), default=None
            Labels, -1 where there is none, as in `fit`. Each call needs its own.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        ValueError
            As in `fit`.
        AttributeError
            With ``early_stopping=True``, which needs more than one epoch.
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
            The encoder's output, not normalized. A row's embedding does not depend on
            the rows beside it: with "mlp" to the bit on a CPU, with other encoders up
            to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If `X` is invalid, or its rows are not like those of the fit.
        """
        return self._fitted_model().embed(X)

    def score(self, X: Table, y: object = None) -> float:
        """Return minus the mean NT-Xent loss of rows, at temperature 0.5.

        The loss is plain NT-Xent (SimCLR's) on the projections of two augmented views,
        whatever the loss of the fit, in batches of about 256. The views are the same at
        each call. So a search without labels compares settings on one scale: priors,
        temperature, learning rate, epochs or networks under one `augmentation`.

        The score cannot rank augmentations, since weaker views always score higher, nor
        scores of different sets of rows. It favors settings close to
        ``loss="simclr", temperature=0.5``. A better score need not mean better accuracy
        of a downstream model. With labels, search over the accuracy of a pipeline.

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
        ValueError
            If `X` is invalid, has a single row, or rows not like those of the fit.
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
        """Return what the last fit has made, to be asked for once in a call.

        Another thread may fit meanwhile, and set another one.
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
