"""A Sphinx extension that writes the tables of the benchmarks from their summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def write_fragments(app: Any) -> None:
    """Write `_generated/*.md`, which pages include."""
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)


def setup(app: Any) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("builder-inited", write_fragments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
