"""The protocol of the BCL paper: pretrain without labels, then probe the encoder.

    python examples/paper/train.py --dataset fashion-mnist --encoder convnet --epochs 10
    python examples/paper/train.py --dataset cifar10 --data-dir ~/data \\
        --encoder resnet50 --epochs 400 --alpha 0.9 --beta 0.9 --crop-scale 0.08

Everything goes through the public API: `BCLEmbedder` trains, and scikit-learn evaluates
by logistic regression on 100, 1,000 and all labels and by weighted k-nearest neighbors
(k = 200). The run keeps its model and its results in a folder. Started again, it goes
on from the last saved epoch. A finished run only prints its results. torchvision reads
the official files of CIFAR and STL-10. Fashion-MNIST is read from its idx files or from
OpenML.

`--alpha-schedule` says how the alpha of the BCL loss changes: "linear" raises it from
0.5 to `--alpha`, and "auc" measures it on the training labels.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from datasets import DATASETS, ImageData, load
from sklearn.base import TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from tqdm import tqdm

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import ImageAugmentation

LABEL_DRAWS = 5
CV_FOLDS = 5
UNUSED_PRIORS = {
    "simclr": {"tau_plus", "alpha", "alpha_schedule", "beta"},
    "dcl": {"alpha", "alpha_schedule", "beta"},
    "hcl": {"alpha", "alpha_schedule", "beta"},
    "bcl": set(),
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--dataset", choices=DATASETS, default="fashion-mnist")
    parser.add_argument("--data-dir", help="folder of the official files")
    parser.add_argument(
        "--loss", choices=("bcl", "simclr", "dcl", "hcl"), default="bcl"
    )
    parser.add_argument("--tau-plus", type=float, default=0.1)
    parser.add_argument("--alpha", type=float, default=0.9)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument(
        "--alpha-schedule", choices=("constant", "linear", "auc"), default="constant"
    )
    encoders = ("auto", "mlp", "convnet", "resnet18", "resnet50")
    parser.add_argument("--encoder", choices=encoders, default="auto")
    parser.add_argument("--crop-scale", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="train on the first images only")
    parser.add_argument("--save-every", type=int, default=1, help="epochs")
    parser.add_argument("--output", type=Path, default=Path("paper-runs"))
    return parser.parse_args(arguments)


def run_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of a run, named by whatever shapes its result."""
    ignored = {"data_dir", "output", "save_every"} | UNUSED_PRIORS[arguments.loss]
    parts = [
        f"{key}={value}"
        for key, value in vars(arguments).items()
        if key not in ignored and value is not None
    ]
    return arguments.output / "_".join(parts)


def shared_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of an embedder that do not depend on the loss."""
    return {
        "encoder": arguments.encoder,
        "augmentation": ImageAugmentation(crop_scale=arguments.crop_scale),
        "batch_size": arguments.batch_size,
        "random_state": arguments.seed,
    }


def make_embedder(arguments: argparse.Namespace) -> BCLEmbedder:
    priors = {
        "tau_plus": arguments.tau_plus,
        "alpha": "labels" if arguments.alpha_schedule == "auc" else arguments.alpha,
        "beta": arguments.beta,
    }
    unused = UNUSED_PRIORS[arguments.loss]
    return BCLEmbedder(
        loss=arguments.loss,
        temperature=arguments.temperature,
        **{name: value for name, value in priors.items() if name not in unused},
        **shared_parameters(arguments),
    )


def save(embedder: BCLEmbedder, path: Path) -> None:
    """Write the model at once, so that a run that is stopped leaves a whole file."""
    joblib.dump(embedder, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(arguments: argparse.Namespace, data: ImageData, folder: Path) -> BCLEmbedder:
    """Train epoch by epoch, from the last saved one on."""
    path = folder / "model.joblib"
    embedder = joblib.load(path) if path.exists() else make_embedder(arguments)
    done = getattr(embedder, "n_iter_", 0)
    labels = None
    if arguments.alpha_schedule == "auc":
        labels = np.full(len(data.unlabeled), -1)
        labels[: len(data.y_train)] = data.y_train
    bar = tqdm(range(done, arguments.epochs), initial=done, total=arguments.epochs)
    for epoch in bar:
        if arguments.alpha_schedule == "linear" and arguments.loss == "bcl":
            share = epoch / max(1, arguments.epochs - 1)
            embedder.set_params(alpha=0.5 + share * (arguments.alpha - 0.5))
        embedder.partial_fit(data.unlabeled, labels)
        bar.set_postfix(loss=f"{embedder.history_[-1, 'train_loss']:.4f}")
        if (epoch + 1) % arguments.save_every == 0 or epoch + 1 == arguments.epochs:
            save(embedder, path)
    return embedder


def probe(Z_train, y_train, Z_test, y_test, n_labels: int | None, draw: int) -> float:
    """Return the accuracy of logistic regression on some labels.

    With few labels, its strength of regularization is chosen by cross-validation on
    them, if each class has enough for that; with all, it is scikit-learn's default.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if n_labels is not None:
        Z_train, _, y_train, _ = train_test_split(
            Z_train, y_train, train_size=n_labels, stratify=y_train, random_state=draw
        )
        grid = {"logisticregression__C": [0.01, 0.1, 1]}
        if np.unique(y_train, return_counts=True)[1].min() >= CV_FOLDS:
            classifier = GridSearchCV(classifier, grid, cv=CV_FOLDS)
    return classifier.fit(Z_train, y_train).score(Z_test, y_test)


def cosine_weights(distances: np.ndarray) -> np.ndarray:
    """Weights exp(cosine / 0.1), from the Euclidean distances of unit vectors."""
    return np.exp((1 - distances**2 / 2) / 0.1)


def evaluate(embedder: TransformerMixin, data: ImageData) -> dict[str, list[float]]:
    """Return test accuracies with a frozen encoder, of each draw of labels."""
    Z_train, Z_test = (embedder.transform(X) for X in (data.X_train, data.X_test))
    arguments = (Z_train, data.y_train, Z_test, data.y_test)
    results = {}
    for n_labels in (100, 1000):
        if n_labels >= len(data.y_train):  # with --images
            continue
        results[f"linear, {n_labels} labels"] = [
            probe(*arguments, n_labels, draw) for draw in range(LABEL_DRAWS)
        ]
    results["linear, all labels"] = [probe(*arguments, None, 0)]
    knn = make_pipeline(
        Normalizer(),
        KNeighborsClassifier(
            min(200, len(data.y_train)), weights=cosine_weights, algorithm="brute"
        ),
    )
    knn.fit(Z_train, data.y_train)
    results["kNN, all labels"] = [knn.score(Z_test, data.y_test)]
    return results


def main() -> None:
    arguments = parse_arguments()
    data = load(arguments.dataset, arguments.data_dir)
    if arguments.images:
        data = ImageData(
            *(part[: arguments.images] for part in data[:3]), data.X_test, data.y_test
        )
    folder = run_folder(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    if not path.exists():
        print(f"{len(data.unlabeled)} images of {arguments.dataset}, into {folder}")
        start = time.perf_counter()
        embedder = train(arguments, data, folder)
        minutes = (time.perf_counter() - start) / 60
        results = {
            **{key: str(value) for key, value in vars(arguments).items()},
            "accuracy": evaluate(embedder, data),
            "minutes of training (of this start)": round(minutes, 1),
            "torch": torch.__version__,
        }
        path.write_text(json.dumps(results, indent=1))
    for name, accuracies in json.loads(path.read_text())["accuracy"].items():
        print(f"{name:20s} {np.mean(accuracies):.4f}")


if __name__ == "__main__":
    main()
