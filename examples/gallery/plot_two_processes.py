"""
Two processes train one model
=============================

In a block of :func:`~sklearn_bcl.distributed.all_processes`, all processes of a
launcher train one model together. The embedding of two processes agrees with the
embedding of one process up to rounding.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

# %%
# Each process runs this script, trains on its share of every batch, and the main
# process then repeats the fit alone.
script = """
import numpy as np
from sklearn.datasets import load_digits

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.distributed import all_processes

X, _ = load_digits(return_X_y=True)
embedder = BCLEmbedder(
    optimizer="sgd", learning_rate=0.05, max_epochs=3, random_state=0
)
with all_processes() as processes:
    together = embedder.fit_transform(X)
if processes.is_main:
    alone = embedder.fit_transform(X)
    np.savez("embeddings.npz", together=together, alone=alone, size=processes.size)
"""

# %%
# The launcher ``torch.distributed.run``, also installed as ``torchrun``, starts two
# processes on this machine.
launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "fit.py").write_text(script)
    subprocess.run(
        [sys.executable, *launcher, "fit.py"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    with np.load(Path(folder, "embeddings.npz")) as saved:
        together, alone, n_processes = saved["together"], saved["alone"], saved["size"]
difference = np.linalg.norm(together - alone) / np.linalg.norm(alone)
print(f"{n_processes} processes, relative difference {difference:.0e}")

# %%
# Each point is a row, and rows with equal embeddings lie on the diagonal.
figure, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
ax.axline((0, 0), slope=1, color="#BBBBBB", label="equal")
ax.scatter(
    alone[:, 0], together[:, 0], s=8, color="#0072B2", label="rows of the digits"
)
ax.set(
    xlabel="first component, one process",
    ylabel="first component, two processes",
    title=f"Relative difference {difference:.0e}",
)
ax.legend()
plt.show()
