"""The example that needs files on disk, on tiny ones. .ci/run runs the others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def test_paper_protocol_resumes(tmp_path):
    rng = np.random.RandomState(0)
    for stem, n_images in (("train", 1200), ("t10k", 50)):
        labels = np.tile(np.arange(10), n_images // 10).astype(np.uint8)
        images = rng.randint(0, 100, size=(n_images, 8, 8)) + 10 * labels[:, None, None]
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", labels)

    def run(epochs):
        command = [sys.executable, str(EXAMPLES / "paper" / "train.py")]
        command += ["--dataset", "fashion-mnist", "--data-dir", str(tmp_path)]
        command += ["--encoder", "mlp", "--alpha-schedule", "auc"]
        command += ["--epochs", str(epochs), "--output", str(tmp_path / "runs")]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        (folder,) = (tmp_path / "runs").glob(f"*epochs={epochs}_*")
        return result, folder

    first, folder = run(1)
    accuracy = json.loads((folder / "results.json").read_text())["accuracy"]
    assert accuracy["linear, all labels"] > 0.3
    assert set(accuracy) == {
        "linear, 100 labels",
        "linear, 1000 labels",
        "linear, all labels",
        "kNN, all labels",
    }
    # A finished run only prints; one whose results are missing goes on from its model.
    again, _ = run(1)
    assert "images of" not in again.stdout
    assert again.stdout in first.stdout
    (folder / "results.json").unlink()
    resumed, _ = run(1)
    assert resumed.stdout == first.stdout
    assert "1/1" in resumed.stderr
