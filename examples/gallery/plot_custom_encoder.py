"""
A custom encoder and a custom augmentation
==========================================

The encoder can be any ``nn.Module`` from rows to vectors, and the augmentation any
picklable function of a batch and a generator. On the digits, the accuracies of the
defaults and of the two custom parts below overlap over draws of labels.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption


# %%
# A class or a function without arguments makes a new encoder for each fit, which gets
# float32 rows as they are, without scaling.
def convolutions():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )


# %%
# An augmentation draws from the given generator only, so that a fit can be repeated.
redraw = FeatureCorruption(rate=0.2)


def mix_patches(x, generator):
    """Put a 4x4 patch of another image into each image, and redraw some pixels."""
    n = len(x)
    start = torch.randint(-3, 8, (2, n, 1), generator=generator, device=x.device)
    pixels = torch.arange(8, device=x.device)
    rows, columns = (start <= pixels) & (pixels < start + 4)
    patch = (rows[:, :, None] & columns[:, None, :]).flatten(1)
    other = torch.randint(n, (n,), generator=generator, device=x.device)
    return redraw(torch.where(patch, x[other], x), generator)


# %%
# Both are parameters of the embedder, so a search can also choose among them.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
designs = {
    "default": {},
    "custom\naugmentation": {"augmentation": mix_patches},
    "custom\nencoder": {"encoder": convolutions},
}
accuracies = {}
for name, parameters in designs.items():
    embedder = BCLEmbedder(**parameters, max_epochs=15, random_state=0).fit(X_train)
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    accuracies[name] = []
    for draw in range(8):
        labeled, _, labels, _ = train_test_split(
            Z_train, y_train, train_size=50, stratify=y_train, random_state=draw
        )
        accuracies[name].append(model.fit(labeled, labels).score(Z_test, y_test))

# %%
# Each point is a draw of 50 labels, and each line is the mean of the draws.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for i, (name, values) in enumerate(accuracies.items()):
    ax.scatter([i] * len(values), values, color="#0072B2")
    ax.hlines(np.mean(values), i - 0.3, i + 0.3, color="#D55E00")
    label = name.replace("\n", " ")
    print(f"{label:20s} {np.mean(values):.3f} ± {np.std(values):.3f}")
ax.set(
    ylabel="test accuracy with 50 labels", xlim=(-0.5, 2.5), title="Digits, 15 epochs"
)
ax.set_xticks(range(len(designs)), designs)
plt.show()
