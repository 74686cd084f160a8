"""
Quick tour: an embedding needs few labels
=========================================

:class:`~sklearn_bcl.BCLEmbedder` learns an embedding of the digits without labels. With
50 labels, a logistic regression on the embedding makes fewer errors than one on the
pixels.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.plotting import EmbeddingDisplay

# %%
# The embedder is a transformer that needs no labels and no scaled features.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=20, random_state=0).fit(X_train)
Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
print(f"pixels {X_train.shape}, embedding {Z_train.shape} of {Z_train.dtype}")

# %%
# The same classifier gets the same 50 labels, once with pixels and once with the
# embedding.
for name, train, test in (("pixels", X_train, X_test), ("embedding", Z_train, Z_test)):
    labeled, _, labels, _ = train_test_split(
        train, y_train, train_size=50, stratify=y_train, random_state=0
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    accuracy = classifier.fit(labeled, labels).score(test, y_test)
    print(f"50 labels, {name}: test accuracy {accuracy:.3f}")

# %%
# A t-SNE map of the embedding of the test rows shows groups of digits, although the
# training saw no label.
display = EmbeddingDisplay.from_estimator(
    embedder, X_test, y_test, reducer=TSNE(random_state=0), s=20
)
display.ax_.set_title("Embedding of the test rows, colored by digit")
plt.show()
