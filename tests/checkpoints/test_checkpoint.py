"""Checkpoints of several files: an index, a folder or a list of files is one source, for loading and audits."""

import json
import shutil

import keras
import numpy as np
import pytest
from meshes import distribution, mesh_of
from modes import BACKEND, to_numpy
from safetensors.numpy import save_file

import keras_initx
from keras_initx.cli import _main
from keras_initx.files import _formats

layers = keras.layers
RANDOM = np.random.default_rng(0)
NAMES = ("first", "second", "third", "last")
STATE = {f"{name}.weight": RANDOM.normal(size=(16, 16)).astype("float32") for name in NAMES}
RULES = {"*": "{0}"}
FILES = [f"model-0000{number + 1}-of-00004.safetensors" for number in range(4)]
INDEX = "model.safetensors.index.json"


def network():
    stack = [layers.Dense(16, use_bias=False, name=name) for name in NAMES]
    return keras.Sequential([keras.Input((16,)), *stack])


def values(model):
    return [to_numpy(weight.value) for weight in model.weights]


def write_index(folder, **changes):
    places = dict(zip(STATE, FILES, strict=True))
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 4096}, "weight_map": places | changes}))


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a kernel in each of four files, under torch's names, and their index."""
    for file, (name, array) in zip(FILES, STATE.items(), strict=True):
        save_file({name: array}, tmp_path / file)
    write_index(tmp_path)
    return tmp_path


@pytest.mark.parametrize("form", ["index", "folder", "folder without index", "list"])
def test_several_files_are_one_source(folder, form):
    source = folder
    if form == "index":
        source = folder / INDEX
    if form == "folder without index":
        (folder / INDEX).unlink()
    if form == "list":
        source = [folder / file for file in reversed(FILES)]
    model = network()
    plan = keras_initx.load_pretrained(model, source, RULES, layout="torch")
    assert plan.unused == {}
    for value, kernel in zip(values(model), STATE.values(), strict=True):
        np.testing.assert_array_equal(value, kernel.T)


def changed(folder, how):
    """Return the source after a change to the files."""
    if how == "lacks":
        save_file({"other": np.zeros(2)}, folder / FILES[1])
    if how == "twice":
        save_file({"second.weight": STATE["second.weight"], "first.weight": np.zeros(2)}, folder / FILES[1])
    if how == "torn":
        content = (folder / FILES[3]).read_bytes()
        (folder / FILES[3]).write_bytes(content[:-8])
    if how == "missing":
        (folder / FILES[2]).unlink()
    if how == "elsewhere":
        write_index(folder, **{"last.weight": "../model.safetensors"})
    if how == "no index":
        (folder / INDEX).write_text("[]")
    if how == "not JSON":
        (folder / INDEX).write_text("{")
    if how == "two indexes":
        shutil.copy(folder / INDEX, folder / "model.fp16.safetensors.index.json")
    if how == "empty":
        empty = folder / "empty"
        empty.mkdir()
        return empty
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("lacks", r"`source` must have each array once.*model-00002\S+ lacks 'second\.weight', which the index has"),
        ("twice", r"`source` must have each array once.*model-00001\S+ and \S+00002\S+ have 'first\.weight'"),
        ("torn", r"`source` must be a \.safetensors file: .*Received: source=.*model-00004"),
        ("missing", r"`source` must be an existing file, but there is none at .*model-00003"),
        ("elsewhere", r"`source` must be an index of files next to it"),
        ("no index", r"`source` must be an index of files next to it: a JSON object .*Received: source="),
        ("not JSON", r"`source` must be an index of files next to it.*; this one is not JSON: "),
        ("two indexes", r"`source` must be a folder with one index: pass the path of one of \[.*fp16.*\]"),
        ("empty", r"`source` must be a folder with `\.safetensors` files, or a file\. Received: source=.*empty"),
    ],
)
def test_a_checkpoint_that_is_not_whole_changes_nothing(folder, how, message):
    model = network()
    before = values(model)
    source = changed(folder, how)
    with pytest.raises(ValueError, match=message):
        keras_initx.load_pretrained(model, source, RULES, layout="torch")
    assert all((now == former).all() for now, former in zip(values(model), before, strict=True))


@pytest.mark.parametrize("source", [[], ["a.npz", 3], [b"a.npz"]])
def test_a_list_must_have_paths(source):
    with pytest.raises(TypeError, match=r"`source` must be a path of a file.*, a list of paths"):
        keras_initx.load_pretrained(network(), source, layout="torch")


def test_a_file_of_each_format_may_be_in_a_list(folder):
    np.savez(folder / "last.npz", **{"last.weight": STATE["last.weight"]})
    model = network()
    files = [*FILES[:3], "last.npz"]
    keras_initx.load_pretrained(model, [folder / file for file in files], RULES, layout="torch")
    np.testing.assert_array_equal(values(model)[3], STATE["last.weight"].T)


def test_an_audit_opens_them_too(folder, capsys):
    for weights in (folder, folder / INDEX, [folder / file for file in FILES]):
        assert keras_initx.audit(weights, like=STATE).unchanged == list(STATE)
    np.savez(folder / "other.npz", **{name: 2 * array for name, array in STATE.items()})
    assert _main.main(["audit", str(folder), "--like", str(folder / "other.npz")]) == 1
    assert "4 of 4 weights are not as in other.npz." in capsys.readouterr().out


class Lazy:
    """An array that is made when it is asked for."""

    def __init__(self, array, read):
        self.shape, self.dtype = array.shape, array.dtype
        self._array, self._read = array, read

    def __array__(self, dtype=None, copy=None):
        self._read.append(self.shape)
        return self._array


def test_an_array_may_be_made_when_it_is_loaded():
    read = []
    state = {name: Lazy(array, read) for name, array in STATE.items()} | {"unused": Lazy(np.zeros(3), read)}
    model = network()
    plan = keras_initx.load_pretrained(model, state, RULES, layout="torch", dry_run=True)
    assert read == []
    assert plan.unused == {"unused": (3,)}
    keras_initx.load_pretrained(model, state, RULES, layout="torch")
    assert (3,) not in read
    np.testing.assert_array_equal(values(model)[0], STATE["first.weight"].T)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
def test_of_each_file_a_shard_reads_its_region(folder, monkeypatch):
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = network()
    read = []

    def read_region(reader, region, original=_formats._RowReader.read):
        values = original(reader, region)
        read.append(values.shape)
        return values

    monkeypatch.setattr(_formats._RowReader, "read", read_region)
    keras_initx.load_pretrained(model, folder, RULES, layout="torch")
    assert set(read) == {(4, 8)}
    for value, kernel in zip(values(model), STATE.values(), strict=True):
        np.testing.assert_array_equal(value, kernel.T)
