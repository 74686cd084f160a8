"""The structure of the package, as docs/development/architecture.md draws it."""

import ast
import inspect
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from skorch import NeuralNet

import sklearn_bcl
from sklearn_bcl import BCLEmbedder
from sklearn_bcl._net import ContrastiveNet
from sklearn_bcl.losses import ContrastiveLoss

PACKAGE = Path(sklearn_bcl.__file__).parent
# From the ground up: a room imports from the floors below its own only.
FLOORS = [
    ["_sklearn_compat", "_random", "_device", "_interrupts", "_ranks", "_sparse"],
    ["_unit_rows", "_version", "_files", "_hollow", "_processes"],
    ["_validation", "_ambient", "_one_pass", "_layers", "_batch_norm", "distributed"],
    ["_data.frames", "_data.units", "_data.images", "_data.sources"],
    ["_data.scaling", "_data.columns", "_data.arrays"],
    ["bayes", "metrics", "augmentations"],
    ["losses", "encoders", "_data.format", "_data.labels"],
    ["_data.rows", "plotting._style"],
    ["_run"],
    ["_bins", "_net", "plotting._curves", "plotting._embedding", "plotting._search"],
    ["_checkpoint"],
    ["_model", "_parts", "callbacks"],
    ["_posterior"],
    ["plotting._posterior"],
    ["_parameters", "plotting"],
    ["_persistence"],
    ["_saving"],
    ["_embedder"],
    [""],  # the package itself
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def rooms():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path):
    """Yield the modules that a file imports, those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module
            # A name may be a module itself.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_import_goes_up_or_in_a_circle():
    arrows = {
        (room, target.removeprefix("sklearn_bcl").removeprefix("."))
        for room, path in rooms()
        for target in imports(path)
        if target.split(".")[0] == "sklearn_bcl"
    }
    arrows = {(room, target) for room, target in arrows if target in FLOOR}
    known = {room for room, _ in rooms() if room != "_data"}  # which holds nothing
    assert known == set(FLOOR)
    upward = {arrow for arrow in arrows if FLOOR[arrow[0]] <= FLOOR[arrow[1]]}
    assert not upward
    assert ("_model", "_data.format") in arrows  # the check itself sees something


def test_the_page_has_each_module_on_its_floor():
    page = PACKAGE.parent / "docs" / "development" / "architecture.md"
    rows = re.findall(r"^\| (\d+) \| `(.*?)`", page.read_text(encoding="utf-8"), re.M)
    found = {}
    for floor, file in rows:
        name = file.removesuffix(".py").replace("/", ".").removesuffix("__init__")
        found[name.rstrip(".")] = int(floor)
    assert found == FLOOR


def test_imported_packages_are_declared():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.match(r"[\w-]+", requirement)[0]
        for requirement in project["dependencies"] + extras["plot"] + extras["vision"]
    }
    imported = {target.split(".")[0] for _, path in rooms() for target in imports(path)}
    third_party = imported - set(sys.stdlib_module_names) - {"sklearn_bcl"}
    names = {"sklearn": "scikit-learn"}
    assert {names.get(name, name) for name in third_party} <= declared


def test_private_names_of_scikit_learn_are_in_one_file():
    def is_private(target):
        first, *others = target.split(".")
        return first == "sklearn" and any(
            part.startswith("_") and not part.startswith("__") for part in others
        )

    users = {
        room for room, path in rooms() for target in imports(path) if is_private(target)
    }
    assert users == {"_sklearn_compat"}


def test_skorch_is_used_at_its_own_seams():
    overridden = {
        name
        for name, value in vars(ContrastiveNet).items()
        if name in vars(NeuralNet) and (callable(value) or isinstance(value, property))
    }
    own_seams = {"infer", "get_loss", "get_iterator", "get_split_datasets"}
    assert own_seams <= overridden
    assert len(overridden) <= 9
    steps = {"train_step_single", "validation_step", "on_epoch_begin", "on_epoch_end"}
    assert not overridden & (steps | {"fit_loop", "notify", "partial_fit"})


def test_nothing_runs_backward_itself():
    for _, path in rooms():
        calls = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {node.attr for node in calls if isinstance(node, ast.Attribute)}
        assert "backward" not in names


def test_files_and_functions_can_be_overlooked():
    for room, path in rooms():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 620, room
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                body = node.body[has_docstring:]
                if body:
                    n_lines = body[-1].end_lineno - body[0].lineno + 1
                    assert n_lines <= 50, f"{room}.{node.name}"


def test_each_loss_is_one_hook():
    losses = ContrastiveLoss.__subclasses__()
    # Not those that other tests have imported.
    own = [loss for loss in losses if loss.__module__.startswith("sklearn_bcl.")]
    assert len(own) == 4
    for loss in own:
        methods = {name for name in vars(loss) if inspect.isfunction(vars(loss)[name])}
        assert methods <= {"__init__", "log_negative_mass"}


# Signature, constraints and docstring of the estimator


def documented_parameters(docstring):
    """Return the default of each parameter of a numpydoc docstring."""
    section = re.search(r"Parameters\n-+\n(.*?)\n\nAttributes\n", docstring, re.DOTALL)
    text = re.sub(r"\s*\\\n\s*", " ", section[1])
    return dict(re.findall(r"^(\w+) : .*?default=(.*)$", text, re.MULTILINE))


def test_signature_constraints_and_docstring_agree():
    signature = inspect.signature(BCLEmbedder).parameters
    assert len(signature) <= 28
    documented = documented_parameters(inspect.getdoc(BCLEmbedder))
    assert list(documented) == list(signature)
    assert list(BCLEmbedder._parameter_constraints) == list(signature)
    for name, parameter in signature.items():
        assert ast.literal_eval(documented[name]) == parameter.default, name


def test_groups_of_parameters():
    docstring = inspect.getdoc(BCLEmbedder)
    section = docstring.split("Parameters\n----------\n")[1].split("\n\nAttributes\n")[
        0
    ]
    headings = re.findall(r"^([A-Z][\w ]+)\n    \S", section, re.MULTILINE)
    assert headings == [
        "Representation",
        "Views",
        "Loss and priors",
        "Optimization",
        "Stopping",
        "Running",
    ]


@pytest.mark.parametrize("name", sorted(BCLEmbedder._parameter_constraints))
def test_constraints_accept_the_default(name):
    (default,) = [inspect.signature(BCLEmbedder).parameters[name].default]
    # The check of scikit-learn itself, which fit runs first.
    BCLEmbedder(**{name: default})._validate_params()


def test_fitted_attributes_are_documented():
    X = torch.randn(20, 3).numpy()
    documented = re.findall(
        r"^([\w, ]+_) : ", inspect.getdoc(BCLEmbedder), re.MULTILINE
    )
    documented = {name for names in documented for name in names.split(", ")}
    embedder = BCLEmbedder(max_epochs=1, early_stopping=True).fit(X)
    public = {name for name in vars(embedder) if name.endswith("_")} | {"encoder_"}
    assert public == documented - {"feature_names_in_"}
