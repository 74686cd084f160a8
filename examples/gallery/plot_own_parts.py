"""
Your own encoder and augmentation
=================================

An encoder is any ``nn.Module`` from rows to vectors, an augmentation any picklable
function of a batch and a generator: a few lines each. Whether they pay has to be
measured: on the digits, 8x8 pixels, neither a convolutional encoder nor views with
patches of other images make a difference beyond the spread over draws of labels.
"""

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption

X, y = load_digits(return_X_y=True)


# %%
# A class or a function without arguments makes a new encoder for each fit; a module is
# copied. It gets float32 rows as they are given, so it scales them itself.
def convolutions():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.BatchNorm2d(1), nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()),
        nn.Flatten(),
    )


# %%
# All draws of an augmentation come from the generator that it is given: so a fit can be
# repeated, and no global generator is touched.
redraw = FeatureCorruption(rate=0.2)


def mix_patches(x, generator):
    """Put a 4x4 patch of another image into each one, and redraw some pixels."""
    n = len(x)
    start = torch.randint(-3, 8, (2, n, 1), generator=generator, device=x.device)
    pixels = torch.arange(8, device=x.device)
    rows, columns = (start <= pixels) & (pixels < start + 4)
    patch = (rows[:, :, None] & columns[:, None, :]).flatten(1)
    other = torch.randint(n, (n,), generator=generator, device=x.device)
    return redraw(torch.where(patch, x[other], x), generator)


# %%
# Both are parameters of the embedder, so a grid search could choose among them.
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
designs = {
    "defaults": {},
    "own views": {"augmentation": mix_patches},
    "own encoder": {"encoder": convolutions},
    "both": {"encoder": convolutions, "augmentation": mix_patches},
}
accuracies = {}
for name, parts in designs.items():
    embedder = BCLEmbedder(**parts, max_epochs=15, random_state=0).fit(X_train)
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    accuracies[name] = []
    for draw in range(5):
        Z, _, labels, _ = train_test_split(
            Z_train, y_train, train_size=50, stratify=y_train, random_state=draw
        )
        accuracies[name].append(model.fit(Z, labels).score(Z_test, y_test))

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for i, (name, values) in enumerate(accuracies.items()):
    print(f"{name:12s} {sum(values) / 5:.3f}")
    ax.scatter([i] * 5, values, color="#0072B2")
    ax.hlines(sum(values) / 5, i - 0.3, i + 0.3, color="#D55E00")
ax.set(
    xticks=range(len(designs)),
    xticklabels=designs,
    ylabel="test accuracy with 50 labels",
    title="Digits, 15 epochs; five draws of labels and their mean",
)
plt.show()
