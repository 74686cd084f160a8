"""What debiasing is worth: SimCLR that knows the false negatives.

    python examples/paper/oracle.py --seeds 3 --epochs 5

Debiased losses guess which samples share an anchor's class. Here labels say so, and
NT-Xent leaves those samples out, which no loss without labels can do. What it gains
over SimCLR, in the runs of `compare.py`, estimates what a guess could gain at best by
removing false negatives under this budget; hard negative mining is another matter.
Fashion-MNIST with the default encoder only; other arguments are those of `train.py`. It
resumes, run by run.
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import numpy as np
import torch
import train
from compare import results_of, row
from datasets import ImageData, load
from torch import nn
from torch.nn import functional as F

from sklearn_bcl.augmentations import ImageAugmentation
from sklearn_bcl.encoders import ConvNetEncoder

# The labels of the batch on its way from the augmentation to the loss. They travel as
# a second channel, since no label has a way into an embedding.
BATCH: dict[str, torch.Tensor] = {}


class LabelledViews:
    """Views of the first channel; the second holds the label of the image."""

    def __init__(self, crop_scale: float) -> None:
        self.views = ImageAugmentation(crop_scale=crop_scale)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        BATCH["labels"] = x[:, 1, 0, 0]
        return torch.cat([self.views(x[:, :1], generator), x[:, 1:]], dim=1)


class FirstChannelEncoder(ConvNetEncoder):
    def cells(self, x: torch.Tensor) -> torch.Tensor:
        return super().cells(x[:, :1])


class OracleLoss(nn.Module):
    """NT-Xent over the true negatives, as if there were as many as samples."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
        z, labels = torch.cat([z1, z2]), BATCH["labels"].repeat(2)
        positive = (z1 * z2).sum(dim=1).repeat(2) / self.temperature
        same = labels[:, None] == labels
        known = (~same).any(dim=1)  # anchors with a true negative
        scores = (z @ z.T / self.temperature).masked_fill(same, -torch.inf)[known]
        weight = (len(z) - 2) / (~same[known]).sum(dim=1)
        negatives = scores.logsumexp(dim=1) + weight.log()
        return F.softplus(negatives - positive[known]).mean()


def with_labels(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return images of two channels, the second of which holds the label."""
    channel = np.empty_like(images)
    channel[:] = labels[:, None, None]
    return np.stack([images, channel], axis=1)


def oracle_results(arguments: argparse.Namespace) -> dict[str, float]:
    folder = train.run_folder(arguments)
    folder = folder.with_name(folder.name.replace("loss=simclr", "loss=oracle"))
    path = folder / "results.json"
    if not path.exists():
        data = load("fashion-mnist", arguments.data_dir)
        X_train = with_labels(data.X_train, data.y_train)
        X_test = with_labels(data.X_test, np.zeros_like(data.y_test))
        shape = (1, *data.X_train.shape[1:])
        embedder = train.make_embedder(arguments).set_params(
            encoder=partial(FirstChannelEncoder, shape, 2048),
            augmentation=LabelledViews(arguments.crop_scale),
            loss=OracleLoss(arguments.temperature),
            channel_order="first",
        )
        # Weights, order and views are those of SimCLR's run: only the loss differs.
        for _ in range(arguments.epochs):
            BATCH["labels"] = torch.arange(2.0)  # the estimator first tries two rows
            embedder.partial_fit(X_train)
        labelled = ImageData(X_train, X_train, data.y_train, X_test, data.y_test)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(train.evaluate(embedder, labelled)))
    results = json.loads(path.read_text())
    return {name: float(np.mean(values)) for name, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--seeds", type=int, default=3)
    arguments, extra = parser.parse_known_args()
    simclr, oracle = [], []
    for seed in range(arguments.seeds):
        options = [*extra, "--loss", "simclr", "--seed", str(seed)]
        run = train.parse_arguments(options)
        if (run.dataset, run.encoder, run.images) != ("fashion-mnist", "auto", None):
            raise SystemExit("Only --dataset fashion-mnist, --encoder auto, all images")
        simclr.append(results_of(options))
        oracle.append(oracle_results(run))
    measures = list(oracle[0])
    gains = [
        [o[m] - s[m] for m in measures] for o, s in zip(oracle, simclr, strict=True)
    ]
    print("| loss | " + " | ".join(measures) + " |")
    print("|---|" + "---|" * len(measures))
    print(row("oracle", np.array([[run[m] for m in measures] for run in oracle])))
    print(row("oracle − simclr, paired", np.array(gains)))


if __name__ == "__main__":
    main()
