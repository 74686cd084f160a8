"""Official image data sets, read from disk.

Fashion-MNIST comes from OpenML where its files are missing. Nothing else is downloaded.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import fetch_openml

DATASETS = ("cifar10", "cifar100", "stl10", "fashion-mnist")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


class ImageData(NamedTuple):
    """Images as uint8, (n, h, w) or (n, c, h, w), and integer labels."""

    unlabeled: np.ndarray
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(name: str, data_dir: str | None) -> ImageData:
    """Return a data set from the official files in a folder.

    The images to learn from without labels are the training images, and for STL-10 its
    unlabeled images as well.
    """
    if name == "fashion-mnist":
        folder = Path(data_dir) if data_dir else DEBIAN_FASHION_MNIST
        if data_dir is None and not folder.exists():
            return fetch_fashion_mnist()
        print(f"Fashion-MNIST from {folder}")
        X_train, y_train, X_test, y_test = (
            read_idx(folder, stem)
            for stem in (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            )
        )
        return ImageData(X_train, X_train, y_train, X_test, y_test)
    if data_dir is None:
        raise SystemExit(f"--data-dir must name the folder with the files of {name}")
    from torchvision import datasets  # in the extra "vision"

    if name == "stl10":
        parts = {
            split: datasets.STL10(data_dir, split)
            for split in ("unlabeled", "train", "test")
        }
        train, test = parts["train"], parts["test"]
        unlabeled = np.concatenate([train.data, parts["unlabeled"].data])
        return ImageData(unlabeled, train.data, train.labels, test.data, test.labels)
    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    train, test = dataset(data_dir, train=True), dataset(data_dir, train=False)
    X_train, X_test = (data.data.transpose(0, 3, 1, 2) for data in (train, test))
    y_train, y_test = np.array(train.targets), np.array(test.targets)
    return ImageData(X_train, X_train, y_train, X_test, y_test)


def fetch_fashion_mnist() -> ImageData:
    """Return Fashion-MNIST from OpenML: downloaded once, then from a cache."""
    print("Fashion-MNIST from OpenML")
    X, y = fetch_openml(
        "Fashion-MNIST",
        version=1,
        return_X_y=True,
        as_frame=False,
        parser="liac-arff",  # the one that needs no pandas
    )
    X, y = X.astype(np.uint8).reshape(-1, 28, 28), y.astype(np.uint8)
    if not (np.bincount(y[:60000]) == 6000).all():
        raise SystemExit("OpenML's rows are not the training and then the test images.")
    return ImageData(X[:60000], X[:60000], y[:60000], X[60000:], y[60000:])


def read_idx(folder: Path, stem: str) -> np.ndarray:
    """Read an idx file of unsigned bytes, plain or gzipped."""
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.exists():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            n_dimensions = content[3]
            shape = np.frombuffer(content, ">i4", n_dimensions, offset=4)
            return np.frombuffer(
                content, np.uint8, offset=4 + 4 * n_dimensions
            ).reshape(shape)
    raise SystemExit(
        f"No file {stem} or {stem}.gz in {folder}. On Debian, the package "
        "dataset-fashion-mnist has them."
    )
