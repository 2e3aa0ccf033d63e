"""The package as a whole: its public names, what it imports, what its examples print."""

import ast
import doctest
import functools
import graphlib
import importlib
import importlib.util
import inspect
import json
import pathlib
import re
import subprocess
import sys

import keras
import pins
import pytest
from modes import BACKEND

import keras_initx
from keras_initx._startup import BACKENDS

FRAMEWORKS = set(BACKENDS)
ROOT = pathlib.Path(keras_initx.__file__).parent
ROOMS = (
    "rendering",
    "backends",
    "sampling",
    "arrays",
    "initializers",
    "structure",
    "checkpoints",
    "recipes",
    "diagnostics",
    "models",
    "pretrained",
    "unwritten",
    "outputs",
    "scaling",
    "audits",
    "studies",
    "cli",
)  # from below to above
OF_OTHER_BACKENDS = {f"keras_initx.backends._{name}" for name in FRAMEWORKS - {BACKEND}}
WITHOUT_TRITON = set() if importlib.util.find_spec("triton") else {"keras_initx.sampling._triton"}
# A hook of the build, and what it makes.
NOT_MODULES = {
    "keras_initx.sampling._build_hook",
    "keras_initx.sampling._kernel",
}
LEFT_OUT = OF_OTHER_BACKENDS | WITHOUT_TRITON | NOT_MODULES
SOURCES = sorted(ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


WITH_EXAMPLES = sorted({module_name(path) for path in SOURCES if ">>>" in path.read_text()} - LEFT_OUT)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)  # some write files
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(module, extraglobs={"keras": keras}):
        runner.run(test)
    assert runner.summarize().failed == 0


# A process sees what no other test has imported before: what the first use draws, and which names the package opens.
FIRST_USE = """
import importlib, json, random, sys, types
import numpy as np
import keras

def seeded():
    keras.backend.clear_session()  # the first Keras keeps its generator otherwise
    keras.utils.set_random_seed(1)

def drawn():
    return random.random(), np.random.random(), float(keras.random.uniform(()))

seeded()
expected = drawn()
seeded()
import keras_initx
hidden = keras.layers.Dense(2, "selu", kernel_initializer=keras_initx.HeNormal(seed=0))
model = keras.Sequential([keras.Input((3,)), hidden])
seeded()
keras_initx.audit(model, "selu")

unopened = []
for name in json.loads(sys.argv[2]):
    value = keras_initx
    for part in name.split(".")[1:]:
        value = getattr(value, part, None)
    if value is None:
        unopened.append(name)
# Python itself makes each imported room an attribute.
named = {name: value for name, value in vars(keras_initx).items() if not name.startswith("_")}
public = {name for name, value in named.items() if not isinstance(value, types.ModuleType)}
rooms = [name for name in keras_initx.__all__ if isinstance(getattr(keras_initx, name), types.ModuleType)]

for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
keras_initx.initialize(model, keras_initx.recipes.selu, seed=0)
keras_initx.contract(model)
print(json.dumps({
    "numbers are as before": drawn() == expected,
    "unopened": unopened,
    "not public": sorted(public - {*keras_initx.__all__}),
    "rooms": sorted(rooms),
}))
"""


@pytest.fixture(scope="module")
def first_use():
    """Return what a process finds that imports everything and uses it for the first time."""
    names = sorted({module_name(path) for path in SOURCES} - LEFT_OUT - {"keras_initx.__main__"})
    lists = (json.dumps(names), json.dumps(sorted(listed_in_the_reference())))
    result = subprocess.run([sys.executable, "-c", FIRST_USE, *lists], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.rare
@pytest.mark.every_backend
def test_imports_and_first_audits_leave_the_random_numbers_of_a_process(first_use):
    assert first_use["numbers are as before"]


@pytest.mark.rare
@pytest.mark.every_backend
def test_the_package_alone_opens_every_name_of_the_reference(first_use):
    assert first_use["unopened"] == []
    assert first_use["not public"] == []
    assert first_use["rooms"] == sorted({*pins.ROOMS, "demo", "testing"})


# For each public name, what its first use imports, and what an import of its room alone would.
FIRST_IMPORTS = """
import importlib, json, sys
import keras_initx

def of_package():
    return {name for name in sys.modules if name.startswith("keras_initx.")}

at_once = of_package()

def imported(use):
    for name in of_package() - at_once:
        del sys.modules[name]
    for name in set(vars(keras_initx)) & rooms:
        if f"keras_initx.{name}" not in at_once:
            delattr(keras_initx, name)
    use()
    return of_package() - at_once

names = json.loads(sys.argv[1])
rooms = set(names)
found = {}
for room, of_room in names.items():
    alone = imported(lambda: importlib.import_module(f"keras_initx.{room}"))
    for name in (room, *of_room):
        found[name] = [len(alone), len(imported(lambda: getattr(keras_initx, name)) ^ alone)]
print(json.dumps(found))
"""


def names_by_room():
    """Return the public names of each room, in which their objects are, in the form of JSON."""
    found = {name: [] for name in keras_initx.__all__ if inspect.ismodule(getattr(keras_initx, name))}
    for name in {*keras_initx.__all__} - {*found, "__version__"}:
        found[getattr(keras_initx, name).__module__.split(".")[1]].append(name)
    return found


@pytest.mark.rare
def test_the_first_use_of_a_name_imports_its_room_and_no_other():
    arguments = [sys.executable, "-c", FIRST_IMPORTS, json.dumps(names_by_room())]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts.keys() == {*keras_initx.__all__} - {"__version__"}
    assert {name: more for name, (_, more) in counts.items() if more} == {}
    # The lower rooms are there already, and what is above is not needed.
    assert counts["HeNormal"][0] == 0
    assert counts["initialize"][0] < counts["diagnose"][0]
    assert counts["compare_outputs"][0] < counts["diagnose"][0] < counts["compare_initializers"][0]


def test_type_checkers_see_the_names_that_the_package_has():
    trees = [node for node in parsed(ROOT / "__init__.py").body if isinstance(node, ast.If)]
    aliases = [alias for tree in trees for node in ast.walk(tree) for alias in getattr(node, "names", ())]
    names = {alias.name for alias in aliases}
    assert "*" in names  # of the initializers
    names |= {name for name in vars(keras_initx.initializers) if name in keras_initx.__all__}
    assert names - {"*"} | {"__version__"} == {*keras_initx.__all__}
    assert all(alias.asname == alias.name for alias in aliases if alias.name != "*")


def test_all_names_are_there():
    assert all(hasattr(keras_initx, name) for name in keras_initx.__all__)
    assert len(keras_initx.__all__) == len(set(keras_initx.__all__))


# The rooms below are not public, but some of their classes are.
FROM_BELOW = {"models": {"ModelWeight"}, "pretrained": {"Channels", "Grid", "Rows", "Units"}}


@pytest.mark.parametrize("room", pins.ROOMS)
def test_what_a_package_imports_is_public_and_of_its_own_files(room):
    package = getattr(keras_initx, room)
    public = [value for name, value in vars(package).items() if not name.startswith("_")]
    defined = {value for value in public if inspect.isclass(value) or inspect.isfunction(value)}
    others = {value.__name__ for value in defined if not value.__module__.startswith(f"{package.__name__}._")}
    assert others == FROM_BELOW.get(room, set())


def test_every_registered_class_is_public():
    objects = keras.saving.get_custom_objects().values()
    ours = {cls.__name__ for cls in objects if getattr(cls, "__module__", "").startswith("keras_initx")}
    assert ours - {"Masked", "RateFactors"} <= set(keras_initx.__all__)
    assert ours - {"Masked"} <= vars(keras_initx.initializers).keys() | vars(keras_initx.scaling).keys()


def imported_names_of(node):
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


@pytest.fixture(scope="module", autouse=True)
def _trees_are_freed():
    """Leave no half a million nodes to the collections of garbage of later tests."""
    yield
    parsed.cache_clear()


@functools.cache
def imported_names(path):
    """Return the names that a file imports, at once and in functions."""
    return {name for node in ast.walk(parsed(path)) for name in imported_names_of(node)}


def imported_at_once(node):
    """Yield the names that a tree imports when it is imported: those outside of functions."""
    yield from imported_names_of(node)
    for child in ast.iter_child_nodes(node):
        is_carried_out = isinstance(child, ast.stmt | ast.ExceptHandler) and not isinstance(child, ast.FunctionDef)
        if is_carried_out and not is_for_type_checkers(child):
            yield from imported_at_once(child)


EXTRAS = {"joblib", "matplotlib", "pandas", "scipy"}


def forbidden_imports(path):
    """Return what a file imports and may not."""
    names = imported_names(path)
    at_once = set(imported_at_once(parsed(path)))
    own = {path.stem.removeprefix("_")} if path.parent.name == "backends" else set()
    extras = set() if path.name == "_plot.py" else EXTRAS
    return {
        *(name for name in at_once if name.endswith("._plot") or name.split(".")[0] in extras),  # with Matplotlib
        *(name for name in names if name.startswith("keras.src") or name.split(".")[0] in FRAMEWORKS - own),
    }


def test_sources_import_only_what_they_may():
    assert {str(path): forbidden_imports(path) for path in SOURCES} == {str(path): set() for path in SOURCES}


READERS = ("delattr", "getattr", "hasattr", "setattr", "get", "pop")


def private_names(tree):
    """Yield the private names that a tree reads: after a dot, between brackets, and in `getattr` or `get`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()) | ast.Subscript(slice=ast.Constant(value=name)):
                names = [name]
            case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function), args=arguments) if (
                function in READERS
            ):
                names = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            case _:
                names = []
        yield from (name for name in names if isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*", name))


def defined_names(tree):
    """Yield the names of the functions, classes, variables and attributes that a tree defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


@functools.cache
def names_of_the_package():
    """Return the private names that the package uses and those that it defines, outside the file that may."""
    trees = [parsed(path) for path in SOURCES if path != ROOT / "_keras.py"]
    own = {"_replace"}.union(*map(defined_names, trees))  # that of a `NamedTuple` is documented
    return set().union(*map(private_names, trees)), own


def foreign_private_names(*planted):
    """Return the private names that the package and what is planted use, and the package does not define."""
    used, own = names_of_the_package()
    return used.union(*(private_names(ast.parse(source)) for source in planted)) - own


def test_only_one_file_uses_private_names_of_keras():
    assert foreign_private_names() == set()


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("list(layer._flatten_layers())", "_flatten_layers"),
        ('getattr(model, "_compile_loss", None)', "_compile_loss"),
        ('vars(model).get("_tracker")', "_tracker"),
        ('vars(layer)["_inbound_nodes"]', "_inbound_nodes"),
    ],
)
def test_a_private_name_is_found(planted, name):
    assert foreign_private_names(planted) == {name}


def test_the_rooms_are_those_of_the_page_on_the_design():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    page = pathlib.Path(__file__).parents[1].joinpath("docs", "design.md").read_text()
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == [*reversed(ROOMS)]
    assert folders == set(ROOMS)


def test_imports_go_down_and_never_back():
    for place, room in enumerate(ROOMS):
        for path in (ROOT / room).rglob("*.py"):
            parts = {name.split(".")[1] for name in imported_names(path) if name.startswith("keras_initx.")}
            assert not parts & {*ROOMS[place + 1 :]}, path


@pytest.mark.parametrize("room", ["models", "pretrained", "outputs"])
def test_weights_are_made_loaded_and_compared_without_what_a_diagnosis_needs(room):
    names = set().union(*map(imported_names, (ROOT / room).rglob("*.py")))
    assert [name for name in names if name.startswith("keras_initx.diagnostics")] == []


def names_from_rooms(path):
    """Return what a file imports from a room and not from a file of it, so that the line does not say where it is."""
    rooms = {f"keras_initx.{room}" for room in ROOMS}
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom) and node.module in rooms]
    names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
    return {name for name in names if importlib.util.find_spec(name) is None}


def test_an_import_says_in_which_file_a_name_is():
    files = [path for path in SOURCES if path != ROOT / "__init__.py"]
    assert {str(path): names_from_rooms(path) for path in files} == {str(path): set() for path in files}


def listed_in_the_reference():
    """Return the full names that the pages of the reference list."""
    names = set()
    for page in (pathlib.Path(__file__).parents[1] / "docs" / "api").glob("*.md"):
        module = "keras_initx"
        for line in page.read_text().splitlines():
            directive, _, name = line.partition(":: ")
            if directive == ".. currentmodule":
                module = name
            elif directive.startswith(".. auto") and directive != ".. automodule":
                names.add(name if name.startswith("keras_initx.") else f"{module}.{name}")
    return names


@pytest.mark.parametrize("room", pins.ROOMS)
def test_a_room_offers_the_names_of_its_page(room):
    module = importlib.import_module(f"keras_initx.{room}")
    offered = {name for name in dir(module) if not name.startswith("_") and not inspect.ismodule(getattr(module, name))}
    listed = {name.removeprefix(f"keras_initx.{room}.") for name in listed_in_the_reference()}
    at_the_top = {name.removeprefix("keras_initx.") for name in listed}
    assert offered <= listed | at_the_top


@pytest.mark.parametrize("room", sorted({*ROOMS} - {*pins.ROOMS}))
def test_a_room_without_a_page_offers_nothing(room):
    module = importlib.import_module(f"keras_initx.{room}")
    assert [name for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)] == []


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("_typing.") == "TYPE_CHECKING"


def test_no_modules_import_each_other():
    sources = {module_name(path): path for path in SOURCES}
    graph = {
        module: {name if name in sources else name.rpartition(".")[0] for name in imported_names(path)} & sources.keys()
        for module, path in sources.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # which names the modules of a circle
