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
# The top level: the core and what everything needs, from below to above.
ROOMS = (
    "backends",
    "sampling",
    "files",
    "report",
    "initializers",
    "inspection",
    "checkpoints",
    "recipes",
    "scaling",
    "tools",
    "cli",
)
# The folders of `tools`, one for each task that a user calls, each with the tools that it may import.
TOOLS = {
    "initialize": set(),
    "load_pretrained": {"initialize"},
    "loading": {"initialize", "load_pretrained"},
    "save_pretrained": {"load_pretrained"},
    "compare_outputs": {"load_pretrained"},
    "port_report": {"compare_outputs", "load_pretrained", "save_pretrained"},
    "diagnose": set(),
    "audit": {"initialize", "load_pretrained"},
    "studies": {"audit"},
}
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
# Python itself makes each imported folder an attribute.
named = {name: value for name, value in vars(keras_initx).items() if not name.startswith("_")}
public = {name for name, value in named.items() if not isinstance(value, types.ModuleType)}
modules = [name for name in keras_initx.__all__ if isinstance(getattr(keras_initx, name), types.ModuleType)]

for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
keras_initx.initialize(model, keras_initx.recipes.selu, seed=0)
keras_initx.contract(model)
print(json.dumps({
    "numbers are as before": drawn() == expected,
    "unopened": unopened,
    "not public": sorted(public - {*keras_initx.__all__}),
    "modules": sorted(modules),
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
    assert first_use["modules"] == sorted({*pins.MODULES, "demo", "testing"})


# For each public name, what its first use imports, and what an import of its folder alone would.
FIRST_IMPORTS = """
import importlib, json, sys
import keras_initx

def of_package():
    return {name for name in sys.modules if name.startswith("keras_initx.")}

at_once = of_package()

def imported(use):
    for name in of_package() - at_once:
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(child, None)
    use()
    return of_package() - at_once

counts = {}
for folder, names in json.loads(sys.argv[1]).items():
    alone = imported(lambda: importlib.import_module(f"keras_initx.{folder}"))
    for name in names:
        counts[name] = [len(alone), len(imported(lambda: getattr(keras_initx, name)) ^ alone)]
print(json.dumps(counts))
"""


def names_by_folder():
    """Return the public names by the folder or the module in which their objects are, in the form of JSON."""
    names = {name: [name] for name in keras_initx.__all__ if inspect.ismodule(getattr(keras_initx, name))}
    for name in {*keras_initx.__all__} - {*names, "__version__"}:
        parts = getattr(keras_initx, name).__module__.split(".")
        folder = ".".join(parts[1:3]) if parts[1] == "tools" else parts[1]
        names.setdefault(folder, []).append(name)
    return names


@pytest.mark.rare
def test_the_first_use_of_a_name_imports_its_folder_and_no_other():
    arguments = [sys.executable, "-c", FIRST_IMPORTS, json.dumps(names_by_folder())]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts.keys() == {*keras_initx.__all__} - {"__version__"}
    assert {name: more for name, (_, more) in counts.items() if more} == {}
    # What is below is there already, and what is above is not needed.
    assert counts["HeNormal"][0] == 0
    assert counts["initialize"][0] < counts["diagnose"][0]
    assert counts["compare_outputs"][0] < counts["diagnose"][0]


# No tool, and none of the extras.
STRING_ID = """
import sys
import keras
import keras_initx
keras.layers.Dense(2, kernel_initializer="initx.sparse").build((None, 3))
print([name for name in sys.modules if name.startswith(("keras_initx.tools", "keras_initx.types"))])
"""


@pytest.mark.rare
def test_a_string_id_loads_no_tool():
    result = subprocess.run([sys.executable, "-c", STRING_ID], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


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


@pytest.mark.parametrize("name", [name for name in pins.MODULES if name != "types"])
def test_what_a_public_module_offers_is_of_its_own_files(name):
    module = getattr(keras_initx, name)
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    defined = [value for value in public if inspect.isclass(value) or inspect.isfunction(value)]
    assert [value for value in defined if not value.__module__.startswith(f"{module.__name__}._")] == []


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_offers_what_the_package_has_of_it(tool):
    folder = f"keras_initx.tools.{tool}"
    module = importlib.import_module(folder)
    offered = {name for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)}
    public = {name: getattr(keras_initx, name) for name in keras_initx.__all__ if name != "__version__"}
    of_tool = {name for name, value in public.items() if getattr(value, "__module__", "").startswith(f"{folder}.")}
    assert offered == of_tool
    assert all(getattr(module, name) is public[name] for name in offered)


def test_types_are_the_classes_of_results_and_arguments():
    types = keras_initx.types
    assert all(inspect.isclass(getattr(types, name)) for name in types.__all__)
    assert dir(types) == types.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        types.Nothing  # noqa: B018


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


@functools.cache
def nodes_of(path):
    """Return all nodes of the tree of a file, through which several tests go."""
    return list(ast.walk(parsed(path)))


@pytest.fixture(scope="module", autouse=True)
def _trees_are_freed():
    """Leave no half a million nodes to the collections of garbage of later tests."""
    yield
    parsed.cache_clear()
    nodes_of.cache_clear()


@functools.cache
def imported_names(path):
    """Return the names that a file imports, at once and in functions."""
    return {name for node in nodes_of(path) for name in imported_names_of(node)}


def imported_at_once(node):
    """Yield the names that a tree imports when it is imported: those outside of functions."""
    yield from imported_names_of(node)
    for child in ast.iter_child_nodes(node):
        is_carried_out = isinstance(child, ast.stmt | ast.ExceptHandler) and not isinstance(child, ast.FunctionDef)
        if is_carried_out and not is_for_type_checkers(child):
            yield from imported_at_once(child)


def imported_with(module):
    """Return the modules of the package that are imported as soon as one of them is."""
    sources = {module_name(path): path for path in SOURCES}
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.append(name.rpartition(".")[0])  # the folder of a module, and the module of a name
            if name in sources:
                waiting += imported_at_once(parsed(sources[name]))
    return reached & sources.keys()


def test_the_package_imports_no_tool_at_once():
    reached = imported_with("keras_initx")
    assert {"keras_initx.initializers", "keras_initx.scaling", "keras_initx.backends._current"} <= reached
    assert {name for name in reached if name.startswith(("keras_initx.tools", "keras_initx.types"))} == set()


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


def private_names(nodes):
    """Yield the private names that nodes read: after a dot, between brackets, and in `getattr` or `get`."""
    for node in nodes:
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


def defined_names(nodes):
    """Yield the names of the functions, classes, variables and attributes that nodes define."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


@functools.cache
def names_of_the_package():
    """Return the private names that the package uses and those that it defines, outside the file that may."""
    files = [nodes_of(path) for path in SOURCES if path != ROOT / "_keras.py"]
    # Those of a `NamedTuple` are documented.
    own = {"_fields", "_replace"}.union(*map(defined_names, files))
    return set().union(*map(private_names, files)), own


def foreign_private_names(*planted):
    """Return the private names that the package and what is planted use, and the package does not define."""
    used, own = names_of_the_package()
    return used.union(*(private_names(ast.walk(ast.parse(source))) for source in planted)) - own


def test_only_one_file_uses_private_names_of_keras():
    assert foreign_private_names() == set()


def is_own(value):
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


@functools.cache
def names_of_keras():
    """Return the private names of the methods and attributes that the installed Keras defines, read from its text."""
    names = set()
    for path in pathlib.Path(keras.src.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"^ +def (_[A-Za-z]\w*)\(", text, re.MULTILINE))
        names.update(re.findall(r"\bself\.(_[A-Za-z]\w*)\b[^=\n]* = ", text))
    return names


def touched_in_keras(nodes):
    """Return the private names of Keras' classes that nodes read or set on an object that is not their own."""
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and not is_own(node.value)}
    texts = set(private_names(node for node in nodes if isinstance(node, ast.Call)))
    # `super()._split` is that of `textwrap`, and `parallel._backend` that of joblib.
    return (attributes | texts) & names_of_keras() - {"_split", "_backend"}


def test_a_name_of_keras_is_private_to_one_file_also_if_the_package_uses_it_for_its_own():
    touched = {str(path): touched_in_keras(nodes_of(path)) for path in SOURCES if path != ROOT / "_keras.py"}
    assert {path: names for path, names in touched.items() if names} == {}


@pytest.mark.parametrize("planted", ["part._init_seed = 0", 'hasattr(part, "_init_seed")', "del part._init_seed"])
def test_a_private_name_of_keras_is_found_in_each_use(planted):
    assert touched_in_keras(list(ast.walk(ast.parse(planted)))) == {"_init_seed"}


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


def test_the_folders_are_those_of_the_page_on_the_design():
    page = pathlib.Path(__file__).parents[2].joinpath("docs", "design.md").read_text()
    tree = page.partition("keras_initx/\n")[2].partition("```")[0]
    shown = re.findall(r"^(│?) *[├└]─ (\w+)/", tree, re.MULTILINE)
    assert {name for inner, name in shown if not inner} == {*ROOMS}
    assert {name for inner, name in shown if inner} == {*TOOLS}
    for folder, names in ((ROOT, ROOMS), (ROOT / "tools", TOOLS)):
        assert {path.parent.name for path in folder.glob("*/__init__.py")} == {*names}


def imported_parts(folder):
    """Yield the parts of the names that the files of a folder import from the package, after its own name."""
    for path in folder.rglob("*.py"):
        yield from (name.split(".")[1:] for name in imported_names(path) if name.startswith("keras_initx."))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_and_never_back(room):
    above = {*ROOMS[ROOMS.index(room) + 1 :]}
    assert above & {parts[0] for parts in imported_parts(ROOT / room)} == set()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_imports_those_of_its_row_and_no_other(tool):
    parts = imported_parts(ROOT / "tools" / tool)
    assert {names[1] for names in parts if names[0] == "tools"} - {tool} == TOOLS[tool]


def names_from_rooms(path):
    """Return what a file imports from a room and not from a file of it, so that the line does not say where it is."""
    rooms = {f"keras_initx.{room}" for room in (*ROOMS, *(f"tools.{tool}" for tool in TOOLS))}
    nodes = [node for node in nodes_of(path) if isinstance(node, ast.ImportFrom) and node.module in rooms]
    names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
    return {name for name in names if importlib.util.find_spec(name) is None}


def test_an_import_says_in_which_file_a_name_is():
    files = [path for path in SOURCES if path != ROOT / "__init__.py"]
    assert {str(path): names_from_rooms(path) for path in files} == {str(path): set() for path in files}


def listed_in_the_reference():
    """Return the full names that the pages of the reference list."""
    names = set()
    for page in (pathlib.Path(__file__).parents[2] / "docs" / "api").glob("*.md"):
        module = "keras_initx"
        for line in page.read_text().splitlines():
            directive, _, name = line.partition(":: ")
            if directive == ".. currentmodule":
                module = name
            elif directive.startswith(".. auto") and directive != ".. automodule":
                names.add(name if name.startswith("keras_initx.") else f"{module}.{name}")
    return names


@pytest.mark.parametrize("room", pins.MODULES)
def test_a_room_offers_the_names_of_its_page(room):
    module = importlib.import_module(f"keras_initx.{room}")
    offered = {name for name in dir(module) if not name.startswith("_") and not inspect.ismodule(getattr(module, name))}
    listed = {name.removeprefix(f"keras_initx.{room}.") for name in listed_in_the_reference()}
    at_the_top = {name.removeprefix("keras_initx.") for name in listed}
    assert offered <= listed | at_the_top


@pytest.mark.parametrize("room", sorted({*ROOMS} - {*pins.MODULES}))
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
