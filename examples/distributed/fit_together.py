"""Several processes train one model, which agrees with the model of one process.

    python examples/distributed/fit_together.py
    torchrun --nproc-per-node 2 examples/distributed/fit_together.py

Each process trains on its share of every batch. Each process then trains alone, and the
main process prints the relative difference of the two embeddings of the digits.
Rounding errors grow with the number of training steps, so the training is short and
uses SGD.
"""

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.distributed import all_processes

X, y = load_digits(return_X_y=True)
embedder = BCLEmbedder(
    optimizer="sgd", learning_rate=0.05, max_epochs=5, random_state=0
)

# %%
# Inside the block, a fit is one training by all processes.
with all_processes() as processes:
    together = embedder.fit_transform(X)

# %%
# Outside the block, each process trains by itself.
alone = embedder.fit_transform(X)
difference = np.linalg.norm(together - alone) / np.linalg.norm(alone)

if processes.is_main:
    print(f"processes: {processes.size}")
    print(f"relative difference of the embeddings: {difference:.1e}")
    classifier = LogisticRegression(max_iter=1000).fit(together[:100], y[:100])
    accuracy = classifier.score(together[100:], y[100:])
    print(f"accuracy with 100 labels: {accuracy:.3f}")
