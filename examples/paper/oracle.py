"""What debiasing is worth: SimCLR that knows the false negatives.

    python examples/paper/oracle.py --seeds 3 --epochs 5

Debiased losses estimate which samples share an anchor's class. Here the labels say so,
and NT-Xent leaves those samples out. No loss without labels can do that. The gain over
SimCLR, in the runs of `compare.py`, is what an estimate could gain at best by removing
false negatives under this budget. Hard negative mining is another matter.

Only Fashion-MNIST with the default encoder. Other arguments go to `train.py`. Each run
keeps its results in a folder, so a comparison that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import train
from compare import results_of, row
from datasets import load
from oracle_loss import OracleLoss

from sklearn_bcl import BCLEmbedder


def oracle_results(arguments: argparse.Namespace) -> dict[str, float]:
    """Run the oracle unless its results are there; return the mean accuracies."""
    folder = train.run_folder(arguments)
    folder = folder.with_name(folder.name.replace("loss=simclr", "loss=oracle"))
    path = folder / "results.json"
    if not path.exists():
        data = load("fashion-mnist", arguments.data_dir)
        embedder = BCLEmbedder(
            loss=OracleLoss(arguments.temperature), **train.shared_parameters(arguments)
        )
        # Weights, order and views are those of SimCLR's run: only the loss differs.
        for _ in range(arguments.epochs):
            embedder.partial_fit(data.X_train, data.y_train)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(train.evaluate(embedder, data)))
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
