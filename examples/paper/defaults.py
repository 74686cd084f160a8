"""`BCLEmbedder()` as it comes, on all 60,000 images of Fashion-MNIST without labels.

    python examples/paper/defaults.py

Fits it with its defaults, in 18 minutes on two cores, and evaluates it as in
`train.py`, beside raw pixels and PCA. The fitted model and the results stay in a
folder, and another start goes on from there. Spreads are standard deviations over draws
of labels.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import joblib
import numpy as np
from datasets import load
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from train import evaluate, save

from sklearn_bcl import BCLEmbedder


def flatten(images):
    return images.reshape(len(images), -1) / 255


def accuracy(draws: list[float]) -> str:
    """Format the mean, and the spread if there are several draws."""
    spread = f" ± {np.std(draws, ddof=1):.4f}" if len(draws) > 1 else ""
    return f"{np.mean(draws):.4f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of the official files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("paper-runs/defaults"))
    arguments = parser.parse_args()
    data = load("fashion-mnist", arguments.data_dir)
    folder = arguments.output / str(arguments.seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    defaults = {name: repr(value) for name, value in BCLEmbedder().get_params().items()}
    results = (
        json.loads(path.read_text()) if path.exists() else {"parameters": defaults}
    )
    if results["parameters"] != defaults:
        raise SystemExit(f"{folder} holds a run with other defaults. Move it away.")
    model = folder / "model.joblib"
    methods = {
        "BCLEmbedder": BCLEmbedder(random_state=arguments.seed, verbose=1),
        "raw pixels": FunctionTransformer(flatten),
        "PCA (64)": make_pipeline(
            FunctionTransformer(flatten), PCA(64, random_state=arguments.seed)
        ),
    }
    for name, method in methods.items():
        if name in results:
            continue
        start = time.perf_counter()
        if name == "BCLEmbedder" and model.exists():
            method = joblib.load(model)
        else:
            method.fit(data.unlabeled)
            results[f"minutes of fitting {name}"] = (time.perf_counter() - start) / 60
            path.write_text(json.dumps(results, indent=1))
            if name == "BCLEmbedder":
                save(method, model)
        results[name] = evaluate(method, data)
        path.write_text(json.dumps(results, indent=1))

    measures = list(results["BCLEmbedder"])
    print("| features | " + " | ".join(measures) + " |")
    print("|---|" + "---|" * len(measures))
    for name in methods:
        cells = [accuracy(results[name][measure]) for measure in measures]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\nBCLEmbedder: {results['minutes of fitting BCLEmbedder']:.1f} minutes")


if __name__ == "__main__":
    main()
