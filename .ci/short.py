"""Run scripts in one process, which saves their imports.

    short.py SCRIPT ... -- COMMAND ...

Scripts run as they are. Commands, each a command line without the python, run on few
rows, with fits of two epochs: whether they run, not what they show.
"""

import functools
import runpy
import shlex
import sys
import time
from pathlib import Path

from matplotlib import pyplot as plt
from sklearn import datasets

from sklearn_bcl import BCLEmbedder

N_DIGITS = 600


def shorten():
    """Let embedders train for two epochs, and the digits be few."""
    full, all_digits = BCLEmbedder.__init__, datasets.load_digits

    @functools.wraps(all_digits)
    def few_digits(**arguments):
        data = all_digits(**arguments)
        if isinstance(data, tuple):
            return tuple(part[:N_DIGITS] for part in data)
        for name in ("data", "images", "target"):
            data[name] = data[name][:N_DIGITS]
        return data

    @functools.wraps(full)
    def short(self, *args, **kwargs):
        full(self, *args, **kwargs)
        self.max_epochs = 2

    BCLEmbedder.__init__, datasets.load_digits = short, few_digits


def run(command, path):
    """Run a script of a command line."""
    print(f"\n$ {command}", flush=True)
    sys.argv = shlex.split(command)
    sys.path[:] = [str(Path(sys.argv[0]).parent), *path]
    start = time.monotonic()
    runpy.run_path(sys.argv[0], run_name="__main__")
    plt.close("all")
    print(f"[{time.monotonic() - start:.0f} s]", flush=True)


if __name__ == "__main__":
    path, end = sys.path[1:], sys.argv.index("--")
    scripts, commands = sys.argv[1:end], sys.argv[end + 1 :]
    for script in scripts:
        run(script, path)
    shorten()
    for command in commands:
        run(command, path)
