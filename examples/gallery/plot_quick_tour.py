"""
Quick tour: unlabeled rows in, linear structure out
====================================================

Fifty labeled digits and 1,207 without a label: a logistic regression on the embedding
of all of them makes about half of the errors of one on the pixels.
"""

# %%
# An embedder is a transformer: no labels, no scaling, float32 out.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.plotting import EmbeddingDisplay, LossCurveDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=40, random_state=0).fit(X_train)
Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
print(f"{X_train.shape} -> {Z_train.shape}, {Z_train.dtype}")

# %%
# The same classifier on the same 50 labels, on pixels and on the embedding.
scaler = StandardScaler().fit(X_train)
for name, train, test in (
    ("pixels", scaler.transform(X_train), scaler.transform(X_test)),
    ("embedding", Z_train, Z_test),
):
    classifier = LogisticRegression(max_iter=5000)
    labeled, _, y_labeled, _ = train_test_split(
        train, y_train, train_size=50, stratify=y_train, random_state=0
    )
    accuracy = classifier.fit(labeled, y_labeled).score(test, y_test)
    print(f"50 labels, {name}: accuracy {accuracy:.3f}")

# %%
# The loss levels off, and classes have come apart that training never saw.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
LossCurveDisplay.from_estimator(embedder, ax=left)
EmbeddingDisplay.from_estimator(embedder, X_test, y_test, ax=right)
left.set_title("Training")
right.set_title("Embedding of the test rows")
plt.show()
