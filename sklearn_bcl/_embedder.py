"""BCLEmbedder: contrastive representation learning as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_bcl._net import Augmentation, ContrastiveNet, resolve_device
from sklearn_bcl._parts import (
    AUGMENTATIONS,
    ENCODERS,
    LOSSES,
    OPTIMIZERS,
    auto_epochs,
    build_net,
    fixed_priors,
    split_rows,
)
from sklearn_bcl._posterior import PosteriorMixin
from sklearn_bcl._priors import LabelledRows
from sklearn_bcl._rows import MIN_BATCH_ROWS, ImageLayout, Rows, validate_rows
from sklearn_bcl._scaling import FeatureScales
from sklearn_bcl.encoders import MLPEncoder
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss

__all__ = ["BCLEmbedder"]

SCORE_TEMPERATURE = 0.5

# What `X` may be; sparse matrices and DataFrames are array-like to NumPy's hints.
Table = ArrayLike | Tensor


def _trains_single_epochs(embedder: BCLEmbedder) -> bool:
    if embedder.early_stopping:
        raise AttributeError(
            "partial_fit trains one epoch at a time and cannot stop early: set "
            "early_stopping=False, or use fit."
        )
    return True


class BCLEmbedder(
    PosteriorMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Embed unlabelled rows by Bayesian contrastive learning.

    An encoder is trained so that two random views of a row (by default: with
    features redrawn from other rows) have similar projections and different rows
    have dissimilar ones, each other row weighed by how likely it is a true negative
    rather than a row of the same kind (and, with `beta` above 0.5, by how hard it
    is). In large tables, rows whose two views disagree count less (`robustness`). The
    encoder's output is the embedding; no labels are used.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Size of the embedding. "auto" is 256 with "mlp" and 2048 with "convnet", whose
        embedding is that of 4x4 parts of an image. Ignored if `encoder` is a ResNet or
        your own, whose output size counts then.
    encoder : {"auto", "mlp", "convnet", "resnet18", "resnet50"}, torch.nn.Module \\
            or callable, default="auto"
        Network from rows to embeddings. "auto" is "mlp" for tables and "convnet" for
        images. "mlp" is a perceptron beside a linear map, and scales the features by
        medians and quartiles of the training data and clips outliers smoothly, so they
        need no scaling. "convnet" is small and fast on a CPU. The ResNets are
        torchvision's (extra ``vision``) with a 3x3 stem for small images, and have 512
        and 2048 components. A module is copied and may be pretrained; a class or a
        function without arguments makes a new one. It maps float32 rows of shape
        ``(n, n_features)``, as they are given, or images of shape
        ``(n, channels, height, width)`` to ``(n, size)``.
    hidden_layer_sizes : array-like of int, default=(512, 512)
        Sizes of the hidden layers of the "mlp" encoder; none leave its linear map.
    projection_size : int, default=128
        Size of the projections that the loss compares. They are the output of a head
        that only training uses.
    augmentation : {"auto", "corruption", "masking", "noise", "images"} or callable, \\
            default="auto"
        How a random view of a batch of rows is drawn:
        :class:`~sklearn_bcl.augmentations.FeatureCorruption`,
        :class:`~sklearn_bcl.augmentations.FeatureMasking`,
        :class:`~sklearn_bcl.augmentations.GaussianNoise` or
        :class:`~sklearn_bcl.augmentations.ImageAugmentation` (extra ``vision``) with
        their default strength, an instance of one with another, or any picklable
        callable ``f(x, generator) -> x'`` from a float32 tensor of rows and a
        :class:`torch.Generator` on its device to a new tensor of the same shape.
        "auto" is "corruption" for tables and "images" for images.
    image_shape : tuple of int or None, default=None
        Shape of one image, ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``, to which flat
        rows are reshaped. None takes rows as they are: two dimensions of `X` make a
        table, three or four make images. Images may be uint8, and stay so in memory;
        other dtypes become float32. An encoder fitted on uint8 images sees their
        pixels divided by 255, one fitted on others as they are.
    channel_order : {"auto", "first", "last"}, default="auto"
        Where the channels of 3D images are. "auto" finds an axis of 1, 3 or 4.
    loss : {"bcl", "simclr", "dcl", "hcl"} or torch.nn.Module, default="bcl"
        :class:`~sklearn_bcl.losses.BCLLoss`, :class:`~sklearn_bcl.losses.NTXentLoss`,
        :class:`~sklearn_bcl.losses.DebiasedLoss` or
        :class:`~sklearn_bcl.losses.HardNegativeLoss` with the priors and the
        temperature below where they have them, or a module called as
        ``loss(z1, z2)``, which brings its own.
    tau_plus : float in [0, 1) or "auto", default="auto"
        Class prior of "bcl", "dcl" and "hcl": probability that another row is a false
        negative, i.e. has the same latent class; about 1 / number of classes. "auto"
        is 0.1 or, with `use_labels`, the sum of the squared shares of the labelled
        rows' classes. It has no effect on "bcl" at ``alpha=0.5``. At 0, "bcl" with
        ``beta=0.5`` and ``robustness=0`` is "simclr".
    alpha : float in [0.5, 1] or "auto", default="auto"
        Location of "bcl": probability that the similarity of a positive exceeds that
        of a negative. "auto" is 0.9 or, with `use_labels`, measured on the labelled
        rows: before training, every `alpha_update_epochs` epochs, in each call of
        `partial_fit`, and at last for ``alpha_``. 1 is allowed with ``tau_plus > 0``
        and ``beta < 1`` only.
    alpha_schedule : {"constant", "linear"}, default="constant"
        "linear" raises the `alpha` of "bcl" during a `fit`, from 0.5 in the first epoch
        to its value in the last; in `partial_fit`, a schedule of one epoch, it is
        `alpha`. ``net_.history[:, "alpha"]`` has the values used. An alpha that changes
        does not go with `early_stopping`.
    alpha_reading : {"calibrated", "paper"}, default="calibrated"
        What a measured macro-AUC says of alpha: the model's own relation
        (:func:`~sklearn_bcl.bayes.alpha_from_auc`), or alpha itself, as in the paper.
    alpha_update_epochs : int, default=20
        Epochs between measurements of alpha.
    use_labels : bool, default=False
        Whether the labels `y` that are given to `fit`, -1 where there is none, set the
        priors that are "auto" (and not those of a `loss` of your own). It is the one
        way in which labels matter: without it, those that a pipeline hands on are
        ignored. In `partial_fit`, each call needs labels, and they set them anew.
    beta : float in (0, 1], default=0.5
        Concentration of "bcl": hardness of the negatives. 0.5 means no hard negative
        mining: each sample counts by how likely it is a true negative. Above, hard
        ones count more, at 1 the most; below, easy ones, of which fewest are false.
    robustness : float in [0, 1] or "auto", default="auto"
        How strongly "bcl" weighs down rows whose two views disagree. 0 is the paper's
        mean over all rows; 1 counts a row in proportion to the share that its views
        have in the loss's softmax. "auto" is 1 for tables of 1,000 training rows or
        more, else 0. Set a number where fits on both sides of that have to be alike:
        in searches whose folds are smaller than that but not the whole, and in calls of
        `partial_fit`. At temperatures far below 0.5, few rows count with 1.
    temperature : float > 0, default=0.5
        Softmax temperature of the cosine similarities.
    learning_rate : float > 0, default=0.001
        Step size of the optimiser.
    weight_decay : float >= 0, default=1e-6
        L2 penalty of the optimiser ("adamw": decoupled weight decay), if it has one.
    optimizer : {"adam", "adamw", "sgd"} or subclass of torch.optim.Optimizer, \
            default="adam"
        Optimiser; "sgd" has a momentum of 0.9.
    batch_size : int >= 2, default=256
        Rows in a batch. Each is compared with all others of its batch. If there are
        fewer training rows, all of them make one batch; a last batch of one row is
        left out.
    max_epochs : int or "auto", default="auto"
        Number of passes over the training rows, at most. "auto" is 200 for up to
        2,400 rows and with `early_stopping`; for more rows, it falls with the root of
        their number, to 98 for 10,000, 40 for 60,000 and at last 10.
    early_stopping : bool, default=False
        Whether to hold out rows and stop when the loss on them no longer improves.
        The encoder of the last epoch that improved it is kept.
    validation_fraction : float in (0, 1), default=0.1
        Share of rows held out. Only used with `early_stopping`.
    n_iter_no_change : int, default=10
        Epochs without improvement that end training. Only used with `early_stopping`.
    tol : float >= 0, default=1e-4
        Least decrease of the held-out loss that counts as improvement. Only used with
        `early_stopping`.
    callbacks : list of skorch callbacks or None, default=None
        Such as :class:`skorch.callbacks.LRScheduler`. They are copied, and start anew
        at each call of `fit` and `partial_fit`. They see the losses of an epoch
        (``train_loss``, ``valid_loss``), not those of a batch. Those that score
        predictions, such as :class:`skorch.callbacks.EpochScoring`, do not apply.
    device : str or torch.device, default="auto"
        Where to train. "auto" is a CUDA GPU where there is one, else the CPU.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit instead of new ones. The
        optimiser and the constants that scale the features start anew.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the order of rows, of the views and of the
        held-out rows. With an int, two fits on the same CPU give bit-equal
        embeddings. Neither NumPy's nor torch's global generator is changed by a fit
        with an int.
    verbose : int, default=0
        1 shows a progress bar, and lets skorch's callbacks print.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net: encoder and head in ``net_.module_``, and the history of the
        last call of `fit` or `partial_fit` in ``net_.history``.
    encoder_ : torch.nn.Module
        The trained encoder, a plain module in evaluation mode, from float32 rows, or
        images of shape ``(n, channels, height, width)``, to embeddings. That of
        "convnet" ends in a square root, which training leaves out: the head, and who
        trains it on, should take :meth:`~sklearn_bcl.encoders.ConvNetEncoder.cells`.
    tau_plus_, alpha_, beta_ : float
        Priors at the end of the fit: those set, those measured on labels, or those of
        your own loss if it is one of :mod:`sklearn_bcl.losses`.
    robustness_ : float
        That of the loss; 0 if it is neither "bcl" nor a `BCLLoss`.
    n_components_ : int
        Size of the embedding.
    n_iter_ : int
        Number of epochs trained, over all warm starts and `partial_fit` calls.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_loss_curve_ : list of float
        Loss on the held-out rows after each epoch with `early_stopping`. Missing if
        there was none.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all names of `X` were strings.

    See Also
    --------
    sklearn_bcl.losses : The losses, for use in any PyTorch training loop.
    sklearn_bcl.bayes : The Bayesian importance weights and posteriors.

    Notes
    -----
    Rows are computed in float32. Centre features whose mean is more than about
    100,000 times their spread, such as time stamps, beforehand.

    An interrupt (Ctrl-C) during `fit` ends training and is raised, but the estimator
    is then fitted with the weights so far, if an epoch was completed. Only one that
    happens to come while a callback runs passes for the callback's own way to stop.

    `fit` takes no ``sample_weight``: a row of weight two is not the same as a row
    given twice in a loss that compares the rows of a batch.

    References
    ----------
    .. [1] Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
       arXiv:2301.11673.
    .. [2] Bahri et al. (2022). SCARF: Self-Supervised Contrastive Learning using
       Random Feature Corruption. arXiv:2106.15147.

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

    loss_curve_: list[float]
    net_: ContrastiveNet
    _layout: ImageLayout | None
    _row_shape: tuple[int, ...]
    _scales: FeatureScales

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "encoder": [StrOptions(set(ENCODERS)), nn.Module, callable],
        "hidden_layer_sizes": ["array-like"],
        "projection_size": [Interval(Integral, 1, None, closed="left")],
        "augmentation": [StrOptions({"auto", *AUGMENTATIONS}), callable],
        "image_shape": ["array-like", None],
        "channel_order": [StrOptions({"auto", "first", "last"})],
        "loss": [StrOptions(set(LOSSES)), nn.Module],
        "tau_plus": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "alpha": [Interval(Real, 0.5, 1, closed="both"), StrOptions({"auto"})],
        "alpha_schedule": [StrOptions({"constant", "linear"})],
        "alpha_reading": [StrOptions({"calibrated", "paper"})],
        "alpha_update_epochs": [Interval(Integral, 1, None, closed="left")],
        "use_labels": ["boolean"],
        "beta": [Interval(Real, 0, 1, closed="right")],
        "robustness": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "batch_size": [Interval(Integral, MIN_BATCH_ROWS, None, closed="left")],
        "max_epochs": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
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
        encoder: (
            Literal["auto", "mlp", "convnet", "resnet18", "resnet50"]
            | nn.Module
            | Callable[[], nn.Module]
        ) = "auto",
        hidden_layer_sizes: Sequence[int] = (512, 512),
        projection_size: int = 128,
        augmentation: (
            Literal["auto", "corruption", "masking", "noise", "images"] | Augmentation
        ) = "auto",
        image_shape: Sequence[int] | None = None,
        channel_order: Literal["auto", "first", "last"] = "auto",
        loss: Literal["bcl", "simclr", "dcl", "hcl"] | nn.Module = "bcl",
        tau_plus: float | Literal["auto"] = "auto",
        alpha: float | Literal["auto"] = "auto",
        alpha_schedule: Literal["constant", "linear"] = "constant",
        alpha_reading: Literal["calibrated", "paper"] = "calibrated",
        alpha_update_epochs: int = 20,
        use_labels: bool = False,
        beta: float = 0.5,
        robustness: float | Literal["auto"] = "auto",
        temperature: float = 0.5,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-6,
        optimizer: (
            Literal["adam", "adamw", "sgd"] | Callable[..., torch.optim.Optimizer]
        ) = "adam",
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
        self.image_shape = image_shape
        self.channel_order = channel_order
        self.loss = loss
        self.tau_plus = tau_plus
        self.alpha = alpha
        self.alpha_schedule = alpha_schedule
        self.alpha_reading = alpha_reading
        self.alpha_update_epochs = alpha_update_epochs
        self.use_labels = use_labels
        self.beta = beta
        self.robustness = robustness
        self.temperature = temperature
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Table, y: ArrayLike | None = None) -> BCLEmbedder:
        """Train the encoder on unlabelled rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, torch.Tensor} of shape (n_samples, n_features)
            Training rows, at least 2, or images, of three or four dimensions.
        y : array-like of shape (n_samples,), default=None
            Ignored, unless ``use_labels=True``: labels, -1 where there is none.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or `X` is invalid, or the loss stops being finite. The
            estimator is then as it was before the call.
        """
        return self._fit(X, y, max_epochs=self.max_epochs)

    @available_if(_trains_single_epochs)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Table, y: ArrayLike | None = None) -> BCLEmbedder:
        """Train the encoder for one epoch on a batch of rows.

        Weights and the state of the optimiser go on from the last call; the constants
        that scale the features are averages over all calls, weighed by their rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, torch.Tensor} of shape (n_samples, n_features)
            Training rows or images, at least 2. The more, the better the comparisons:
            rows of different calls are never compared.
        y : array-like of shape (n_samples,), default=None
            Ignored, unless ``use_labels=True``: labels, -1 where there is none.

        Returns
        -------
        self : BCLEmbedder
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or `X` is invalid.
        AttributeError
            With ``early_stopping=True``, which needs more than one epoch.
        """
        return self._fit(X, y, max_epochs=1, incremental=True)

    def transform(self, X: Table) -> NDArray[np.float32]:
        """Embed rows with the trained encoder.

        Parameters
        ----------
        X : {array-like, sparse matrix, torch.Tensor} of shape (n_samples, n_features)
            Rows or images to embed.

        Returns
        -------
        embedding : ndarray of float32, shape (n_samples, n_components)
            The encoder's output, not normalised. A row's embedding does not depend on
            the rows beside it: with "mlp" to the bit on a CPU, with other encoders up
            to rounding.
        """
        check_is_fitted(self, "net_")
        X = validate_rows(self, X, reset=False)
        return self.net_.embed(self._rows(X))

    def score(self, X: Table, y: object = None) -> float:
        """Return minus the mean NT-Xent loss of rows, at temperature 0.5.

        The loss is plain NT-Xent (SimCLR's) on the projections of two augmented views,
        whatever the loss, priors and temperature of the fit, in batches of about 256
        and with the same views at each call: so a search without labels compares
        settings on one scale.

        It can rank settings of training (priors, temperature, learning rate, epochs,
        network) under one `augmentation` by how well they tell held-out rows apart.
        It cannot rank augmentations or their strength (weaker views always score
        higher), nor scores of different sets of rows; it favours settings close to
        ``loss="simclr", temperature=0.5``, which optimise just this; and a better
        score need not mean better accuracy of a downstream model. Where there are
        labels, search over the accuracy of a pipeline instead.

        Parameters
        ----------
        X : {array-like, sparse matrix, torch.Tensor} of shape (n_samples, n_features)
            Rows or images to score, at least 2.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            Higher is better.
        """
        check_is_fitted(self, "net_")
        X = validate_rows(self, X, reset=False, min_rows=MIN_BATCH_ROWS)
        return -self.net_.ntxent(self._rows(X), temperature=SCORE_TEMPERATURE)

    @property
    def encoder_(self) -> nn.Module:
        check_is_fitted(self, "net_")
        encoder: nn.Module = self.net_.module_.encoder
        return encoder

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _fit(
        self,
        X: Table,
        y: ArrayLike | None,
        *,
        max_epochs: int | Literal["auto"],
        incremental: bool = False,
    ) -> BCLEmbedder:
        with self._unchanged_on_error():
            continuing = hasattr(self, "net_") and (incremental or self.warm_start)
            device = resolve_device(self.device)
            X = validate_rows(self, X, reset=not continuing, min_rows=MIN_BATCH_ROWS)
            if not continuing:
                self._random_state = check_random_state(self.random_state)
            train, validation = Rows(X, device, self._layout), None
            if self.early_stopping:
                train, validation = split_rows(
                    train, self.validation_fraction, self._random_state
                )
            seed = self._random_state.randint(np.iinfo(np.int32).max)
            labelled = None
            if self.use_labels and "auto" in (self.tau_plus, self.alpha):
                labelled = LabelledRows.of(train, y, seed, self.alpha_reading)
            net = build_net(self, train, labelled, seed)
            if continuing:
                net.continue_from(self.net_, with_optimizer=incremental)
            self._scale_features(net, train, reset=not (continuing and incremental))
            if max_epochs == "auto":
                max_epochs = auto_epochs(len(train), self.early_stopping)
            interrupted = net.fit_rows(
                train, epochs=max_epochs, seed=seed, validation_rows=validation
            )
            if interrupted and not net.history:
                raise KeyboardInterrupt
            self._set_fitted_attributes(net, labelled, continuing=continuing)
        if interrupted:
            raise KeyboardInterrupt
        return self

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave an estimator that was fitted before fitted as it was."""
        attributes = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = attributes
            raise

    def _rows(self, X: Any) -> Rows:
        return Rows(X, torch.device(self.net_.device), self._layout)

    def _scale_features(self, net: ContrastiveNet, rows: Rows, *, reset: bool) -> None:
        """Give the encoder's first layer the centers and scales of the features."""
        encoder = net.module_.encoder
        if isinstance(encoder, MLPEncoder):
            scales = FeatureScales.of(rows, self._random_state)
            self._scales = scales if reset else self._scales + scales
            encoder.scale.set_statistics(self._scales.center, self._scales.scale)

    def _set_fitted_attributes(
        self, net: ContrastiveNet, labelled: LabelledRows | None, *, continuing: bool
    ) -> None:
        curves = {"loss_curve_": "train_loss", "validation_loss_curve_": "valid_loss"}
        for attribute, key in curves.items():
            before = getattr(self, attribute, []) if continuing else []
            curve = before + [epoch[key] for epoch in net.history if key in epoch]
            if curve or key == "train_loss":
                setattr(self, attribute, curve)
            elif hasattr(self, attribute):
                delattr(self, attribute)
        self.n_iter_ = len(self.loss_curve_)
        self.tau_plus_, self.alpha_ = fixed_priors(self, labelled)
        self.beta_ = self.beta
        loss = net.criterion_
        self.robustness_ = loss.robustness if isinstance(loss, BCLLoss) else 0.0
        if isinstance(self.loss, BCLLoss):
            self.alpha_, self.beta_ = loss.alpha, loss.beta
        elif labelled is not None and self.alpha == "auto":
            self.alpha_ = labelled.measure_alpha(net)
        if isinstance(self.loss, BCLLoss | DebiasedLoss | HardNegativeLoss):
            self.tau_plus_ = loss.tau_plus
        self.n_components_: int = net.module_.n_components
        self.net_ = net

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "net_"):
            # A pickled net is on the CPU, and stays there without its GPU.
            with suppress(ValueError):
                self.net_.to(resolve_device(self.device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
