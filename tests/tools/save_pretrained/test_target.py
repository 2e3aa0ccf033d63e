"""A model is written to a file, or to a folder as `like` is: in one file, or in shards with an index."""

import json

import keras
import numpy as np
import pytest
from saved import assert_same_bits, built, change, read, state_of

from keras_initx import save_pretrained
from keras_initx.files._safetensors import ArraySpec, write_safetensors

layers = keras.layers
SHARDS = {
    "model-00001-of-00002.safetensors": {"a.weight": (4, 4), "a.bias": (4,), "b.bias": (4,)},
    "model-00002-of-00002.safetensors": {"b.weight": (4, 4), "of nobody": (2,)},
}
INDEX = "model.safetensors.index.json"


def model_of_shards():
    return change(built((4,), layers.Dense(4, name="a"), layers.Dense(4, name="b")))


def write(path, state):
    described = {name: ArraySpec("F32", array.shape, array.nbytes) for name, array in state.items()}
    write_safetensors(path, described, state.values(), {"format": "pt"})


@pytest.fixture
def sharded(tmp_path):
    """Return a folder of shards with their index."""
    folder = tmp_path / "like"
    folder.mkdir()
    weight_map = {}
    for name, shapes in SHARDS.items():
        write(folder / name, state_of(shapes))
        weight_map |= dict.fromkeys(shapes, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("like", ["folder", "index", "files"])
def test_shards_are_written_as_in_like(like, sharded, tmp_path):
    files = {"folder": sharded, "index": sharded / INDEX, "files": [sharded / name for name in SHARDS]}
    path = tmp_path / "tuned"
    model = model_of_shards()
    save_pretrained(model, path, like=files[like], layout="torch")
    assert sorted(file.name for file in path.iterdir()) == [*SHARDS, INDEX]
    for name, shapes in SHARDS.items():
        assert list(read(path / name)) == list(shapes)
    arrays = read(path)
    np.testing.assert_array_equal(arrays["b.weight"], model.layers[1].get_weights()[0].T)
    index = json.loads((path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in arrays.values())


def test_shards_are_replaced_in_their_own_folder(sharded):
    model = model_of_shards()
    (sharded / "config.json").write_text("{}")
    save_pretrained(model, sharded, like=sharded, layout="torch")
    np.testing.assert_array_equal(read(sharded)["a.bias"], model.layers[0].get_weights()[1])
    assert sorted(file.name for file in sharded.iterdir()) == ["config.json", *SHARDS, INDEX]


def test_shards_become_one_file_by_its_name(sharded, tmp_path):
    save_pretrained(model_of_shards(), tmp_path / "a.safetensors", like=sharded, layout="torch")
    assert set(read(tmp_path / "a.safetensors")) == {name for shapes in SHARDS.values() for name in shapes}


def test_an_error_in_the_last_shard_leaves_the_folder_as_it_was(sharded):
    before = {file.name: file.read_bytes() for file in sharded.iterdir()}
    model = model_of_shards()
    names = {"a": "a", "b/bias": "b.bias", "b/kernel": ("b.weight", lambda array: 2 * array)}
    with pytest.raises(ValueError, match="inverse"):
        save_pretrained(model, sharded, names, like=sharded, layout="torch")
    assert {file.name: file.read_bytes() for file in sharded.iterdir()} == before


def dense_and_state():
    return built((4,), layers.Dense(3, name="m")), state_of({"m.weight": (3, 4), "m.bias": (3,)})


def test_a_folder_gets_the_file_that_transformers_reads(tmp_path):
    model, state = dense_and_state()
    save_pretrained(model, tmp_path / "new" / "folder", like=state, layout="torch")
    assert list(read(tmp_path / "new" / "folder" / "model.safetensors")) == list(state)


@pytest.mark.parametrize("name", ["other.safetensors", INDEX])
def test_a_folder_with_other_weights_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    model, state = dense_and_state()
    with pytest.raises(ValueError, match=f"must be a folder without other weights.*{name!r}"):
        save_pretrained(model, tmp_path, like=state, layout="torch")
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.weights.h5", "a.keras", "a.safetensors.index.json"])
def test_other_formats_are_refused(name, tmp_path):
    model, state = dense_and_state()
    with pytest.raises(ValueError, match=r"`path` must be a file that ends in '.safetensors', or a folder"):
        save_pretrained(model, tmp_path / name, like=state, layout="torch")
    with pytest.raises(TypeError, match="`path` must be"):
        save_pretrained(model, 3, like=state, layout="torch")
    with pytest.raises(ValueError, match="`path` must be a path on this machine"):
        save_pretrained(model, "s3://bucket/a.safetensors", like=state, layout="torch")


def test_a_file_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "notes").write_text("a file")
    model, state = dense_and_state()
    with pytest.raises(ValueError, match="`path` must be"):
        save_pretrained(model, tmp_path / "notes", like=state, layout="torch")
    assert (tmp_path / "notes").read_text() == "a file"


def test_bits_are_the_same_in_each_form(sharded, tmp_path):
    model = model_of_shards()
    save_pretrained(model, tmp_path / "a.safetensors", like=sharded, layout="torch")
    save_pretrained(model, tmp_path / "folder", like=sharded, layout="torch")
    folder = read(tmp_path / "folder")
    assert_same_bits(
        {name: folder[name] for name in read(tmp_path / "a.safetensors")}, read(tmp_path / "a.safetensors")
    )
