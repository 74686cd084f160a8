"""
Resuming an interrupted fit
===========================

A fit with a :class:`~sklearn_bcl.callbacks.Checkpoint` writes its state to a file after
each epoch. After an interruption, the same call continues from the file, and the
embedding is bit-equal to the embedding of a fit that was never interrupted.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from skorch.callbacks import Callback

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.callbacks import Checkpoint
from sklearn_bcl.plotting import LossCurveDisplay

# %%
# A callback raises an error in the middle of an epoch, as a failing machine would.
power_fails = True


class PowerFailure(Callback):
    def on_batch_end(self, net, **kwargs):
        if power_fails and len(net.history) > net.max_epochs // 2:
            raise OSError(f"power failure in epoch {len(net.history)}")


# %%
# The first call stops with the error, and the file holds the last complete epoch.
X, _ = load_digits(return_X_y=True)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "digits.checkpoint"
embedder = BCLEmbedder(
    max_epochs=12, random_state=0, callbacks=[Checkpoint(path), PowerFailure()]
)
try:
    embedder.fit(X)
except OSError as error:
    print(f"{error}; {path.name} has {path.stat().st_size / 1e6:.1f} MB")

# %%
# The same call continues from the file, and a fit without a checkpoint serves as the
# reference.
power_fails = False
resumed = embedder.fit(X)
uninterrupted = clone(embedder).set_params(callbacks=None).fit(X)
folder.cleanup()
is_equal = np.array_equal(resumed.transform(X), uninterrupted.transform(X))
print(f"epochs: {resumed.n_iter_}, embeddings bit-equal: {is_equal}")

# %%
# Both fits have the same loss curve.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
LossCurveDisplay.from_estimator(
    uninterrupted, ax=ax, label="uninterrupted", color="#56B4E9", linewidth=6
)
LossCurveDisplay.from_estimator(
    resumed, ax=ax, label="interrupted and resumed", color="black", linestyle="--"
)
ax.axvline(
    embedder.max_epochs // 2 + 0.5, color="#D55E00", linestyle=":", label="interruption"
)
ax.set_title("Training loss on the digits")
ax.legend()
plt.show()
