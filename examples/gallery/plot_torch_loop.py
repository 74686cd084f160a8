"""
The losses in a PyTorch training loop
=====================================

The losses of :mod:`sklearn_bcl.losses` are modules that need no estimator. In a loop of
a dozen lines, :class:`~sklearn_bcl.losses.BCLLoss` trains an encoder whose embedding
ranks rows of the same digit higher than the pixels do.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_bcl.augmentations import FeatureCorruption
from sklearn_bcl.losses import BCLLoss, NTXentLoss
from sklearn_bcl.metrics import embedding_auc

# %%
# The rows are scaled pixels, and the loss will compare projections of the embedding.
X, y = load_digits(return_X_y=True)
rows = torch.from_numpy(X).float()
rows = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp(min=1e-3)

torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128))
head = nn.Sequential(nn.ReLU(), nn.Linear(128, 64))

# %%
# The loss takes the projections of two views of a batch, and normalizes the
# projections.
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
augment = FeatureCorruption(rate=0.3)
bcl = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)
ntxent = NTXentLoss(temperature=0.5)
bcl_curve, ntxent_curve = [], []
for _ in range(30):
    for batch in rows[torch.randperm(len(rows), generator=generator)].split(300):
        z1, z2 = (head(encoder(augment(batch, generator))) for _ in range(2))
        loss = bcl(z1, z2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bcl_curve.append(loss.item())
        ntxent_curve.append(ntxent(z1.detach(), z2.detach()).item())

# %%
# The macro-AUC is the probability that a row of the same digit is more similar than a
# row of another digit.
with torch.no_grad():
    embedding = encoder(rows)
print(f"macro-AUC of the pixels    {embedding_auc(rows, y):.3f}")
print(f"macro-AUC of the embedding {embedding_auc(embedding, y):.3f}")

# %%
# BCL stays below NT-Xent, because BCL gives the most similar samples lower weights.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(bcl_curve, "-", color="#0072B2", label="BCL (trained)")
ax.plot(ntxent_curve, "--", color="#D55E00", label="NT-Xent (only computed)")
ax.set(xlabel="training step", ylabel="loss (nats)", title="Digits, batches of 300")
ax.legend()
plt.show()
