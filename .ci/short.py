"""Run scripts with fits of two epochs: whether they run, not what they show.

Each argument is a command line without the python. One process saves their imports.
"""

import functools
import runpy
import shlex
import sys
from pathlib import Path

from matplotlib import pyplot as plt

from sklearn_bcl import BCLEmbedder

full = BCLEmbedder.__init__


@functools.wraps(full)
def short(self, *args, **kwargs):
    full(self, *args, **kwargs)
    self.max_epochs = 2


BCLEmbedder.__init__ = short
commands, path = sys.argv[1:], list(sys.path)
for command in commands:
    print(f"\n$ {command}", flush=True)
    sys.argv = shlex.split(command)
    sys.path[:] = [str(Path(sys.argv[0]).parent), *path[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
    plt.close("all")
