"""What the package is for: few labels go further on an embedding."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder


def test_fifty_labels_of_digits(digits):
    X, y = digits
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=0
    )
    embedder = BCLEmbedder(max_epochs=20, random_state=0).fit(X_train)
    pairs = {
        "embedding": (embedder.transform(X_train), embedder.transform(X_test)),
        "raw": (X_train, X_test),
    }
    accuracy = {}
    for name, (Z_train, Z_test) in pairs.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        scores = []
        for draw in range(3):
            labeled, _ = train_test_split(
                np.arange(len(y_train)),
                train_size=50,
                stratify=y_train,
                random_state=draw,
            )
            model.fit(Z_train[labeled], y_train[labeled])
            scores.append(model.score(Z_test, y_test))
        accuracy[name] = np.mean(scores)
    assert accuracy["embedding"] >= accuracy["raw"] + 0.03
    assert accuracy["embedding"] > 0.87
