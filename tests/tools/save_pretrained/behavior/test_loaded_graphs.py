"""Whatever the tests of `load_pretrained` load is saved again, with the bits that it was loaded from."""

import functools
import pathlib
import re

import keras
import pytest
from saved import assert_same_bits, read

import keras_initx
from keras_initx.checkpoints._sources import is_torch_module

load_pretrained = keras_initx.load_pretrained
TESTS = pathlib.Path(__file__).parents[2] / "load_pretrained"
FILES = sorted(str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py"))
# What cannot be saved, by its sentence, as the pages say.
REFUSED = re.compile(
    r"the order of its .* is not known"
    r"|does not only move values"
    r"|`like` must not be a file that Keras wrote"
    r"|a report with a function"
    r"|`model` must not (be quantized|have factors of LoRA)"
    r"|`like` has no array for it"
    r"|`like` must have arrays of dtypes that NumPy and a `.safetensors` file have"
    r"|and has other values now"  # of an array whose values a cast has rounded
)


class Saves:
    """A plugin of pytest that saves each model after a load, and notes what comes of it."""

    def __init__(self, folder):
        self.folder = folder
        self.saved, self.refused, self.faults = 0, [], []

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self):
        return False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        """Run all tests on each backend: what they load counts, and not what they say of it."""
        for item in items:
            item.add_marker(pytest.mark.every_backend)

    @pytest.fixture(autouse=True)
    def saving(self, request, monkeypatch):
        @functools.wraps(load_pretrained)
        def load_and_save(model, source, names=None, **options):
            report = load_pretrained(model, source, names, **options)
            is_plain = isinstance(model, keras.Model) and not isinstance(source, keras.Model)
            if is_plain and not options.get("dry_run") and not options.get("resize") and not report.problems:
                self.save(model, source, names, report, request.node.nodeid)
            return report

        monkeypatch.setattr(keras_initx, "load_pretrained", load_and_save)
        if hasattr(request.module, "load_pretrained"):
            monkeypatch.setattr(request.module, "load_pretrained", load_and_save)

    def save(self, model, source, names, report, test):
        path = self.folder / "model.safetensors"
        given = {"*" if names == "*" else name: value for name, value in (names or {}).items()}
        given |= {row.path: None for row in report.left}
        try:
            keras_initx.save_pretrained(model, path, given or None, like=source, layout=report.layout)
            # Texts and other entries without numbers have no place in the file; the report says so.
            arrays = read(source.state_dict() if is_torch_module(source) else source)
            expected = {str(name): array for name, array in arrays.items() if array.dtype.kind not in "OU"}
            assert_same_bits(read(path), expected)
            self.saved += 1
        except (AssertionError, TypeError, ValueError) as error:
            refusals = self.refused if REFUSED.search(str(error)) else self.faults
            refusals.append(f"{test}: {type(error).__name__}: {error}")


@pytest.mark.rare
@pytest.mark.every_backend
@pytest.mark.parametrize("file", FILES)
def test_what_a_test_loads_is_saved_with_its_bits(file, tmp_path, pytestconfig):
    plugin = Saves(tmp_path)
    options = ["-q", "-n0", "-p", "no:cacheprovider", f"--rootdir={pytestconfig.rootpath}", f"-c{pytestconfig.inipath}"]
    pytest.main([*options, str(TESTS / file)], plugins=[plugin])
    assert plugin.faults == [], "\n".join(plugin.faults)
