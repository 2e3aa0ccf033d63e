"""The package as a whole: its public names, what it imports, what its examples print."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import json
import pathlib
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
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")}
TOOLS = sorted(path.parent.name for path in ROOT.glob("tools/*/__init__.py"))
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
    trees = [node for node in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(node, ast.If)]
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


@pytest.mark.parametrize("room", sorted(ROOMS - {*pins.MODULES}))
def test_a_room_without_a_page_offers_nothing(room):
    module = importlib.import_module(f"keras_initx.{room}")
    assert [name for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)] == []
