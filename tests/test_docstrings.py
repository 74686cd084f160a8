"""Docstrings of the public names: numpydoc sections that agree with the code."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

MODULES = [
    "sklearn_bcl",
    "sklearn_bcl.augmentations",
    "sklearn_bcl.bayes",
    "sklearn_bcl.callbacks",
    "sklearn_bcl.distributed",
    "sklearn_bcl.encoders",
    "sklearn_bcl.losses",
    "sklearn_bcl.metrics",
    "sklearn_bcl.plotting",
]
SECTIONS = [
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "See Also",
    "Notes",
    "References",
    "Examples",
]
# Called by the net with a private `Share`; a custom loss leaves them as they are.
INTERNAL = {"of_share", "of_unit_rows", "value_and_gradient"}


def public_objects():
    """Yield the names and objects of all public classes and functions."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            if name != "__version__":
                yield f"{module_name}.{name}", getattr(module, name)


def is_ours(kind):
    return kind.__module__.split(".")[0] == "sklearn_bcl"


def public_methods():
    """Yield the names and methods of public classes that this package defines.

    Methods of torch and skorch that a class overrides, such as `forward` and
    `on_epoch_end`, have the parameters that those packages document.
    """
    for class_name, kind in public_objects():
        if not inspect.isclass(kind):
            continue
        others = [base for base in kind.__mro__[:-1] if not is_ours(base)]
        names = {name for base in kind.__mro__ if is_ours(base) for name in vars(base)}
        for name in sorted(names - INTERNAL):
            method = getattr(kind, name)
            is_public = not name.startswith("_") or name == "__call__"
            is_overridden = any(name in vars(base) for base in others)
            if is_public and not is_overridden and inspect.isroutine(method):
                yield f"{class_name}.{name}", method


OBJECTS = dict(public_objects())
METHODS = dict(public_methods())
ALL = OBJECTS | METHODS
DOCSTRINGS = {name: inspect.getdoc(value) or "" for name, value in ALL.items()}


def sections_of(docstring):
    """Return the sections of a numpydoc docstring by their titles, in order."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", docstring, flags=re.MULTILINE)
    titles = parts[1::2]
    assert len(set(titles)) == len(titles)
    return dict(zip(titles, parts[2::2], strict=True))


def documented_parameters(docstring):
    """Return the documented parameters in order; titles of groups have no type."""
    section = sections_of(docstring).get("Parameters", "")
    lines = re.findall(r"^(\*{0,2}\w.*?) : (.*)\n    \S", section, re.MULTILINE)
    return [name for names, _ in lines for name in names.split(", ")]


def parameters(function):
    """Return the parameters of a signature, as numpydoc writes them."""
    stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    return [
        stars.get(parameter.kind, "") + name
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and not name.startswith("_")
    ]


def raises(function):
    """Return whether the code of a function, or of a constructor, raises."""
    if inspect.isclass(function):
        function = function.__init__
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # a constructor that nobody has written
        return False
    return any(isinstance(node, ast.Raise) for node in ast.walk(ast.parse(source)))


def test_the_lists_see_something():
    assert "sklearn_bcl.BCLEmbedder.true_negative_proba" in METHODS
    assert "sklearn_bcl.losses.BCLLoss.mean_of_losses" in METHODS
    assert "sklearn_bcl.losses.BCLLoss.forward" not in METHODS
    assert raises(METHODS["sklearn_bcl.callbacks.Checkpoint.check"])
    alignment = OBJECTS["sklearn_bcl.metrics.alignment"]
    assert documented_parameters(inspect.getdoc(alignment)) == ["X", "y", "exponent"]


def test_modules_have_docstrings_without_sections():
    # Sphinx would take a section for one of the page that shows the docstring.
    docstrings = {name: importlib.import_module(name).__doc__ for name in MODULES}
    assert all(docstrings.values())
    assert not any(map(sections_of, docstrings.values()))


def test_first_line_is_a_sentence():
    wrong = []
    for name, docstring in DOCSTRINGS.items():
        first, *rest = docstring.split("\n")
        if not first.endswith(".") or (rest and rest[0]):
            wrong.append(name)
    assert not wrong


def test_parameters_are_documented_in_order():
    wrong = {
        name: (documented, parameters(ALL[name]))
        for name, docstring in DOCSTRINGS.items()
        if (documented := documented_parameters(docstring)) != parameters(ALL[name])
    }
    assert not wrong


def test_sections_are_those_of_numpydoc_in_order():
    titles = {name: list(sections_of(text)) for name, text in DOCSTRINGS.items()}
    wrong = [
        name
        for name, found in titles.items()
        if found != [title for title in SECTIONS if title in found]
    ]
    assert not wrong


def test_what_raises_says_so():
    silent = [
        name
        for name, docstring in DOCSTRINGS.items()
        if raises(ALL[name]) and "Raises" not in sections_of(docstring)
    ]
    assert not silent


def test_classes_and_functions_have_examples():
    without = [
        name
        for name in OBJECTS
        if ">>> " not in sections_of(DOCSTRINGS[name]).get("Examples", "")
    ]
    assert not without


def test_properties_are_documented():
    silent = [
        f"{name}.{attribute}"
        for name, kind in OBJECTS.items()
        for attribute, value in vars(kind).items()
        if isinstance(value, property) and not attribute.startswith("_")
        if not value.__doc__
        and f"{attribute} : " not in sections_of(DOCSTRINGS[name])["Attributes"]
    ]
    assert not silent


def test_every_public_name_is_on_the_api_page():
    page = Path(__file__).parents[1] / "docs" / "api.rst"
    text = page.read_text(encoding="utf-8")
    listed = {
        f"{section}.{name}"
        for section, names in re.findall(
            r"currentmodule:: ([\w.]+)\n(.*?)(?=\.\. currentmodule|\Z)", text, re.DOTALL
        )
        for name in re.findall(r"^   (\w+)$", names, re.MULTILINE)
    }
    public = {
        f"{module}.{name}"
        for module in MODULES
        for name in importlib.import_module(module).__all__
    }
    assert listed == public - {"sklearn_bcl.__version__"}
