"""
The losses in a plain PyTorch loop
==================================

``sklearn_bcl.losses`` needs nothing of the estimator: a loss takes the projections of
two views of a batch, and normalizes them itself. Here it trains an encoder in a loop of
a dozen lines, which comes close to the estimator.
"""

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_bcl.augmentations import FeatureCorruption
from sklearn_bcl.losses import BCLLoss, NTXentLoss
from sklearn_bcl.metrics import embedding_auc

X, y = load_digits(return_X_y=True)
rows = torch.from_numpy(X).float()
rows = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp(min=1e-3)

# %%
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128))
head = nn.Sequential(nn.ReLU(), nn.Linear(128, 64))
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
augment = FeatureCorruption(rate=0.3)
loss_function = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)
ntxent = NTXentLoss(temperature=0.5)

history = {"BCL (trained)": [], "NT-Xent": []}
for _ in range(30):
    for batch in rows[torch.randperm(len(rows), generator=generator)].split(300):
        views = (augment(batch, generator) for _ in range(2))
        z1, z2 = (head(encoder(view)) for view in views)
        loss = loss_function(z1, z2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history["BCL (trained)"].append(loss.item())
        history["NT-Xent"].append(ntxent(z1.detach(), z2.detach()).item())

with torch.no_grad():
    auc_before = embedding_auc(rows, y)
    auc = embedding_auc(encoder(rows), y)
print(f"macro-AUC of the pixels {auc_before:.3f}, of the embedding {auc:.3f}")

# %%
# BCL is below NT-Xent throughout: it takes the most similar samples, which may be false
# negatives, at less than par.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), color, style in zip(
    history.items(), ("#0072B2", "#D55E00"), ("-", "--"), strict=True
):
    ax.plot(values, style, color=color, label=name)
ax.set(xlabel="training step", ylabel="loss (nats)", title="Digits, batches of 300")
ax.legend()
plt.show()
