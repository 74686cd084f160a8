"""Run an example with fits of two epochs: whether it runs, not what it shows."""

import functools
import runpy
import sys
from pathlib import Path

from sklearn_bcl import BCLEmbedder

full = BCLEmbedder.__init__


@functools.wraps(full)
def short(self, *args, **kwargs):
    full(self, *args, **kwargs)
    self.max_epochs = 2


BCLEmbedder.__init__ = short
script = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(script).parent)
runpy.run_path(script, run_name="__main__")
