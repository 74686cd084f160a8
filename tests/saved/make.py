"""Save an embedder by the current version, for the tests of later versions."""

import json
from pathlib import Path

import numpy as np

import sklearn_bcl
from sklearn_bcl import BCLEmbedder


def main() -> None:
    path = Path(__file__).with_name(f"{sklearn_bcl.__version__}.safetensors")
    X = np.random.default_rng(0).normal(size=(60, 4))
    X[::7, 1] = np.nan
    embedder = BCLEmbedder(
        n_components=4,
        hidden_layer_sizes=(8,),
        projection_size=4,
        max_epochs=2,
        random_state=0,
    ).fit(X)
    embedder.save(path)
    rows = X[:6]
    rows[0, 1] = 0.0
    embedding = embedder.transform(rows)
    expected = {"rows": rows.tolist(), "embedding": embedding.tolist()}
    path.with_suffix(".json").write_text(json.dumps(expected) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":  # pytest imports this module in search of doctests
    main()
