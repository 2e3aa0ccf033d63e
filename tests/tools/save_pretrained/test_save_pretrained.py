"""A model goes back to torch: trained, saved, loaded there, with equal outputs."""

import json

import keras
import numpy as np
import pytest
from modes import BACKEND
from saved import GRAPHS, assert_same_bits, built, change, loaded, read, state_of

import keras_initx
from keras_initx import save_pretrained
from keras_initx.files._safetensors import ArraySpec, write_safetensors

layers = keras.layers
DENSE = {"m.weight": (3, 4), "m.bias": (3,)}


def dense():
    return built((4,), layers.Dense(3, name="m"))


def test_the_report_has_a_row_for_each_weight(tmp_path):
    model, shapes = GRAPHS["flattened"]()
    report = save_pretrained(model, tmp_path / "a.safetensors", like=state_of(shapes), layout="torch")
    assert report.ok
    assert [row.path for row in report] == ["conv/kernel", "conv/bias", "out/kernel", "out/bias"]
    row = report["out/kernel"]
    assert (row.status, row.detail) == ("saved", "transposed, rows reordered from channels first")
    assert (row.arrays, row.array_shape, row.array_dtype) == (("out.weight",), (4, 60), "float32")
    assert report.summary == f"4 of 4 weights saved to {tmp_path / 'a.safetensors'} and loaded again: equal."


def test_a_dry_run_writes_nothing_and_says_what_is_wrong(tmp_path):
    model = built((4,), layers.Dense(3, name="m"), layers.Dense(2, name="head"))
    change(model)
    options = {"like": state_of(DENSE), "layout": "torch", "dry_run": True}
    report = save_pretrained(model, tmp_path / "a.safetensors", **options)
    assert [row.path for row in report.problems] == ["head/kernel", "head/bias"]
    assert report.summary == "2 of 4 weights to be saved; 2 with errors."
    model.layers[0].bias.assign([7e4, 0, 0])
    report = save_pretrained(model, tmp_path / "a.safetensors", {"m": "m", "head": None}, dtype="float16", **options)
    assert [row.path for row in report.problems] == ["m/bias"]
    assert report.summary.startswith("1 of 4 weights to be saved; 2 left out; 1 with errors.")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_refused(tmp_path):
    path, state = tmp_path / "a.safetensors", state_of(DENSE)
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        save_pretrained(3, path, like=state, layout="torch")
    with pytest.raises(TypeError, match="`like` must be a path of a file"):
        save_pretrained(dense(), path, like=3, layout="torch")
    with pytest.raises(TypeError, match="`like` must be the path of a file"):
        save_pretrained(dense(), path, like=dense(), layout="torch")
    with pytest.raises(ValueError, match="`like` must be an existing file"):
        save_pretrained(dense(), path, like=tmp_path / "none.safetensors", layout="torch")
    with pytest.raises(ValueError, match="`layout` must be 'torch' or 'keras'"):
        save_pretrained(dense(), path, like=state)
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        save_pretrained(dense(), path, like=state, layout="torch", dtype="int8")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_keras_is_refused_as_like(tmp_path):
    dense().save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="`like` must not be a file that Keras wrote"):
        save_pretrained(dense(), tmp_path / "a.safetensors", like=tmp_path / "a.keras")


SHARDS = {
    "model-00001-of-00002.safetensors": {"a.weight": (4, 4), "a.bias": (4,), "b.bias": (4,)},
    "model-00002-of-00002.safetensors": {"b.weight": (4, 4), "of nobody": (2,)},
}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path):
    """Return a folder of shards with their index."""
    folder = tmp_path / "like"
    folder.mkdir()
    weight_map = {}
    for name, shapes in SHARDS.items():
        state = state_of(shapes)
        described = {name: ArraySpec("F32", array.shape, array.nbytes) for name, array in state.items()}
        write_safetensors(folder / name, described, state.values(), {"format": "pt"})
        weight_map |= dict.fromkeys(shapes, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("like", ["folder", "index", "files"])
def test_shards_become_one_file(like, sharded, tmp_path):
    files = {"folder": sharded, "index": sharded / INDEX, "files": [sharded / name for name in SHARDS]}
    model = change(built((4,), layers.Dense(4, name="a"), layers.Dense(4, name="b")))
    save_pretrained(model, tmp_path / "tuned", like=files[like], layout="torch")
    assert [file.name for file in (tmp_path / "tuned").iterdir()] == ["model.safetensors"]
    arrays = read(tmp_path / "tuned")
    assert list(arrays) == [name for shapes in SHARDS.values() for name in shapes]
    np.testing.assert_array_equal(arrays["b.weight"], model.layers[1].get_weights()[0].T)
    save_pretrained(model, tmp_path / "a.safetensors", like=files[like], layout="torch")
    assert_same_bits(read(tmp_path / "a.safetensors"), arrays)


def test_the_folder_of_shards_with_their_index_is_refused_and_left_as_it_was(sharded):
    model = change(built((4,), layers.Dense(4, name="a"), layers.Dense(4, name="b")))
    before = {file.name: file.read_bytes() for file in sharded.iterdir()}
    required = r"without other weights, which a program could read in place of 'model.safetensors': pass a new folder"
    with pytest.raises(ValueError, match=required):
        save_pretrained(model, sharded, like=sharded, layout="torch")
    assert {file.name: file.read_bytes() for file in sharded.iterdir()} == before


@pytest.mark.parametrize("name", ["other.safetensors", "model-00001-of-00002.safetensors", INDEX])
def test_a_folder_with_other_weights_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"must be a folder without other weights.*{name!r}"):
        save_pretrained(dense(), tmp_path, like=state_of(DENSE), layout="torch")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_file_of_a_folder_is_replaced_and_other_files_stay(tmp_path):
    folder = tmp_path / "new" / "folder"
    like = state_of(DENSE)
    for seed in (1, 2):
        model = change(dense(), seed)
        save_pretrained(model, folder, like=like, layout="torch")
        (folder / "config.json").write_text("{}")
        np.testing.assert_array_equal(read(folder)["m.bias"], model.get_weights()[1])
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    model, path = dense(), tmp_path / "a.safetensors"
    save_pretrained(model, path, like=state_of(DENSE), layout="torch")
    before = path.read_bytes()
    names = {"m/bias": "m.bias", "m/kernel": ("m.weight", lambda array: 2 * array.T)}
    with pytest.raises(ValueError, match="inverse"):
        save_pretrained(change(model), path, names, like=path, layout="torch")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.weights.h5", "a.keras", "a.safetensors.index.json"])
def test_other_formats_are_refused(name, tmp_path):
    model, state = dense(), state_of(DENSE)
    with pytest.raises(ValueError, match=r"`path` must be a file that ends in '.safetensors', or a folder"):
        save_pretrained(model, tmp_path / name, like=state, layout="torch")
    with pytest.raises(TypeError, match="`path` must be"):
        save_pretrained(model, 3, like=state, layout="torch")
    with pytest.raises(ValueError, match="`path` must be a path on this machine"):
        save_pretrained(model, "s3://bucket/a.safetensors", like=state, layout="torch")


def test_a_file_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(ValueError, match="`path` must be"):
        save_pretrained(dense(), tmp_path / "notes", like=state_of(DENSE), layout="torch")
    assert (tmp_path / "notes").read_text() == "a file"


def test_the_layout_of_keras_is_kept(tmp_path):
    model = change(dense())
    like = {"m.kernel": np.zeros((4, 3), "float32"), "m.bias": np.zeros(3, "float32")}
    save_pretrained(model, tmp_path / "a.safetensors", like=like, layout="keras")
    again = dense()
    keras_initx.load_pretrained(again, tmp_path / "a.safetensors", layout="keras")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def train(model):
    """Train one step, with inputs and targets of any kind."""
    random = np.random.default_rng(0)
    x = random.normal(size=(8, *model.input_shape[1:])).astype("float32")
    y = random.normal(size=(8, *model.output_shape[1:])).astype("float32")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, epochs=1, verbose=0)
    return x


@pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
class TestOfTorch:
    """Models that torch runs after training."""

    def modules(self):
        from torch import nn

        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(4, 3, bidirectional=True, batch_first=True)
                self.out = nn.Linear(6, 2)

            def forward(self, x):
                return self.out(self.lstm(x)[0])

        class Image(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(2, 3, 2)
                self.norm = nn.BatchNorm2d(3)
                self.out = nn.Linear(60, 4)

            def forward(self, x):
                return self.out(self.norm(self.conv(x.movedim(-1, 1))).flatten(1))

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
                self.norm = nn.LayerNorm(8)

            def forward(self, x):
                return self.norm(self.attention(x, x, x)[0])

        return {"recurrent": Recurrent, "image": Image, "attention": Attention}

    def models(self):
        recurrent = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="lstm")
        image = [layers.Conv2D(3, 2, name="conv"), layers.BatchNormalization(epsilon=1e-5, name="norm")]
        inputs = keras.Input((6, 8))
        attended = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
        return {
            "recurrent": built((6, 4), recurrent, layers.Dense(2, name="out")),
            "image": built((6, 5, 2), *image, layers.Flatten(), layers.Dense(4, name="out")),
            "attention": keras.Model(inputs, layers.LayerNormalization(epsilon=1e-5, name="norm")(attended)),
        }

    def test_a_module_is_what_a_model_is_saved_like(self, tmp_path):
        module, model = self.modules()["image"](), self.models()["image"]
        loaded = keras_initx.load_pretrained(model, module)
        change(model)
        save_pretrained(model, tmp_path / "module.safetensors", like=module)
        save_pretrained(model, tmp_path / "report.safetensors", loaded, like=module)
        save_pretrained(model, tmp_path / "state.safetensors", like=module.state_dict(), layout="torch")
        assert_same_bits(read(tmp_path / "module.safetensors"), read(tmp_path / "state.safetensors"))
        assert_same_bits(read(tmp_path / "report.safetensors"), read(tmp_path / "state.safetensors"))
        with pytest.raises(ValueError, match="`layout` must be 'torch' or `None`"):
            save_pretrained(model, tmp_path / "a.safetensors", loaded, like=module, layout="keras")

    @pytest.mark.parametrize("name", ["recurrent", "image", "attention"])
    def test_a_trained_model_gives_the_same_outputs_in_torch(self, name, tmp_path):
        import safetensors.torch
        import torch

        module, model = self.modules()[name](), self.models()[name]
        safetensors.torch.save_file(module.state_dict(), tmp_path / "model.safetensors")
        report = loaded(model, tmp_path / "model.safetensors")
        x = train(model)
        path = tmp_path / "tuned.safetensors"
        save_pretrained(model, path, report, like=tmp_path / "model.safetensors")
        module.load_state_dict(safetensors.torch.load_file(path))
        module.eval()
        recorded = keras_initx.record_outputs(module, torch.from_numpy(x))
        comparison = keras_initx.compare_outputs(model, x, like=recorded)
        assert comparison.ok, str(comparison)
        with torch.no_grad():
            expected = module(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=2e-6)
