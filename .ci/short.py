"""Run examples with fits of two epochs: whether they run, not what they show."""

import functools
import runpy
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
scripts, sys.argv, path = sys.argv[1:], sys.argv[:1], list(sys.path)
for script in scripts:
    print(f"\n$ {script}", flush=True)
    sys.path[:] = [str(Path(script).parent), *path[1:]]
    runpy.run_path(script, run_name="__main__")
    plt.close("all")
