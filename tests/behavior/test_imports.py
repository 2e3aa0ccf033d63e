"""What files of the package import: from folders below, no private names of Keras, and tools by a table."""

import ast
import functools
import graphlib
import importlib
import importlib.util
import pathlib
import re

import keras
import pytest

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

SOURCES = sorted(ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("_typing.") == "TYPE_CHECKING"


def test_no_modules_import_each_other():
    sources = {module_name(path): path for path in SOURCES}
    graph = {
        module: {name if name in sources else name.rpartition(".")[0] for name in imported_names(path)} & sources.keys()
        for module, path in sources.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # which names the modules of a circle
