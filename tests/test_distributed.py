"""Several processes train one model. They are started once, for all cases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LONG, small
from numpy.testing import assert_array_equal

from sklearn_bcl.distributed import all_processes

SCRIPT = Path(__file__).with_name("several_processes.py")


@pytest.mark.skipif(
    sys.platform == "win32", reason="torchrun is not supported on Windows"
)
@pytest.mark.parametrize("n_processes", [2, 3] if LONG else [2])
def test_several_processes(n_processes, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command = [sys.executable, *launcher, str(n_processes), str(SCRIPT), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    paths = [tmp_path / f"results.{rank}.json" for rank in range(n_processes)]
    assert all(path.exists() for path in paths), run.stdout + run.stderr
    for path in paths:
        results = json.loads(path.read_text())
        failures = {k: v for k, v in results.items() if v != "passed"}
        assert not failures, "\n".join(failures.values())
        assert len(results) >= 12


def test_without_a_launcher_nothing_changes(X):
    expected = small().fit_transform(X)
    with all_processes() as processes:
        assert (processes.rank, processes.size, processes.is_main) == (0, 1, True)
        assert_array_equal(small().fit_transform(X), expected)


def test_variables_of_a_launcher_alone_do_nothing(X, monkeypatch):
    expected = small().fit_transform(X)
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert_array_equal(small().fit_transform(X), expected)


def test_blocks_are_checked():
    with pytest.raises(ValueError, match="'timeout' must be positive"):
        with all_processes(timeout=0):
            pass
    with all_processes():
        with pytest.raises(RuntimeError, match="inside another"):
            with all_processes():
                pass
