"""The pages of the documentation: their examples run as printed."""

import doctest
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LONG

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "generated" not in str(path)]


def blocks(page, language):
    """Return the blocks of a page that are in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def name(page):
    return str(page.relative_to(DOCS).with_suffix(""))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "pycon")], ids=name
)
def test_sessions_print_what_the_page_says(page, tmp_path, monkeypatch):
    """Blocks of a page follow each other in one session."""
    monkeypatch.chdir(tmp_path)
    session = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(
        session, {"__name__": "__main__"}, name(page), str(page), 0
    )
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    output = []
    doctest.DocTestRunner(optionflags=flags).run(test, out=output.append)
    assert not output, "".join(output)


RECIPES = [(name(page), recipe) for page in PAGES for recipe in blocks(page, "python")]


def needs(recipe):
    found = re.match(r"# needs: (\w+)", recipe)
    return found[1] if found else "numpy"


@pytest.mark.filterwarnings("default")  # of the packages themselves
@pytest.mark.parametrize(
    ("page", "recipe"),
    RECIPES,
    ids=[f"{page} {needs(recipe)}" for page, recipe in RECIPES],
)
def test_recipes_run_as_printed(page, recipe, tmp_path, monkeypatch):
    """Each is a script of its own. "# needs: package" names what it imports."""
    monkeypatch.chdir(tmp_path)
    if needs(recipe) == "datasets":  # the examples have a module of this name
        command = [sys.executable, "-c", recipe]
        run = subprocess.run(command, capture_output=True, text=True)
        if "No module named 'datasets'" in run.stderr:
            pytest.skip("needs datasets")
        assert run.returncode == 0, run.stderr
        return
    if importlib.util.find_spec(needs(recipe)) is None:
        pytest.skip(f"needs {needs(recipe)}")
    if needs(recipe) in ("distributed", "ray") and not LONG:
        pytest.skip("takes a minute: SKLEARN_BCL_LONG=1")
    exec(compile(recipe, f"{page}.md", "exec"), {"__name__": "__main__"})
