"""The package as a whole: its public names, what it imports, what its examples print."""

import ast
import doctest
import graphlib
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import subprocess
import sys

import keras
import pytest
from modes import BACKEND

import keras_initx
import keras_initx.diagnostics
import keras_initx.initializers
import keras_initx.models
import keras_initx.recipes
import keras_initx.sampling
import keras_initx.studies

FRAMEWORKS = {"jax", "tensorflow", "torch"}
ROOT = pathlib.Path(keras_initx.__file__).parent
ROOMS = (
    "backends",
    "sampling",
    "initializers",
    "rendering",
    "diagnostics",
    "models",
    "recipes",
    "studies",
    "cli",
)  # from below to above
OF_OTHER_BACKENDS = {f"keras_initx.backends._{name}" for name in FRAMEWORKS - {BACKEND}}
WITHOUT_TRITON = set() if importlib.util.find_spec("triton") else {"keras_initx.sampling._triton"}
LEFT_OUT = OF_OTHER_BACKENDS | WITHOUT_TRITON
MODULES = sorted({module.name for module in pkgutil.walk_packages([str(ROOT)], "keras_initx.")} - LEFT_OUT)
SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize(
    "package",
    [keras_initx, keras_initx.diagnostics, keras_initx.models, keras_initx.recipes, keras_initx.studies],
    ids=lambda p: p.__name__,
)
def test_all_names_are_there(package):
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("package", [keras_initx.initializers, keras_initx.sampling], ids=lambda p: p.__name__)
def test_what_a_package_imports_is_public_and_of_its_own_files(package):
    public = [value for name, value in vars(package).items() if not name.startswith("_")]
    defined = [value for value in public if inspect.isclass(value) or inspect.isfunction(value)]
    assert all(value.__module__.startswith(f"{package.__name__}._") for value in defined)


def test_every_registered_class_is_public():
    objects = keras.saving.get_custom_objects().values()
    ours = {cls.__name__ for cls in objects if getattr(cls, "__module__", "").startswith("keras_initx")}
    assert ours <= set(keras_initx.__all__)
    assert ours <= vars(keras_initx.initializers).keys()


def imported_names_of(node):
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        yield from imported_names_of(node)


@pytest.mark.once
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_import_only_what_they_may(path):
    names = set(imported_names(path))
    assert not any(name.startswith("keras.src") for name in names)
    own = {path.stem.removeprefix("_")} if path.parent.name == "backends" else set()
    assert not {name.split(".")[0] for name in names} & FRAMEWORKS - own


@pytest.mark.once
@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_and_never_back(room):
    above = ROOMS[ROOMS.index(room) + 1 :]
    for path in (ROOT / room).rglob("*.py"):
        parts = {name.split(".")[1] for name in imported_names(path) if name.startswith("keras_initx.")}
        assert not parts & set(above)


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported_at_run_time(node):
    """Return the names that a tree imports, at any level, but for what only type checkers see."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from imported_names_of(node)
    children = node.orelse if is_for_type_checkers(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from imported_at_run_time(child)


@pytest.mark.once
def test_no_modules_import_each_other():
    sources = {module_name(path): ast.parse(path.read_text()) for path in SOURCES}
    graph = {
        module: {name if name in sources else name.rpartition(".")[0] for name in imported_at_run_time(tree)}
        & sources.keys()
        for module, tree in sources.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # which names the modules of a circle


def test_importing_brings_in_no_other_framework_and_no_extra_and_is_all_that_a_saved_model_needs(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, kernel_initializer="initx.sparse")])
    model.save(tmp_path / "model.keras")
    extras = ("joblib", "matplotlib", "pandas", "rich", "scipy", "sklearn")
    found = f"print(*(name for name in {(*sorted(FRAMEWORKS), *extras)} if name in sys.modules))"
    load = "print(keras.models.load_model(sys.argv[1]).count_params())"
    script = f"import sys, keras; {found}; import keras_initx; {found}; {load}"
    command = [sys.executable, "-c", script, tmp_path / "model.keras"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    without, with_package, count = result.stdout.splitlines()
    assert with_package == without
    assert BACKEND in without
    assert int(count) == model.count_params()


@pytest.mark.once
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, extraglobs={"keras": keras})
    assert failures == 0
