"""Each value of a weight goes where a load reads it."""

import keras
import numpy as np
import pytest
from modes import everywhere, often, to_numpy
from saved import GRAPHS, assert_same_bits, built, change, loaded, of_cells, read, saved, state_of

from keras_initx import load_pretrained, save_pretrained
from keras_initx.tools.save_pretrained import _save_pretrained, _way_back

layers = keras.layers
# Of each kind: one that is turned, moving averages, parts of one array.
ON_ALL = ("transposed", "normalized", "flattened")


@pytest.mark.parametrize("name", everywhere(GRAPHS, ON_ALL, others=[pytest.mark.release_backends]))
def test_an_untrained_model_is_saved_with_the_bits_of_its_source(name, tmp_path):
    model, shapes = GRAPHS[name]()
    state = state_of(shapes)
    loaded(model, state)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state), state)


@pytest.mark.parametrize("name", everywhere(GRAPHS, ON_ALL, others=[pytest.mark.release_backends]))
def test_a_trained_model_is_loaded_from_what_was_saved(name, tmp_path):
    model, shapes = GRAPHS[name]()
    state = state_of(shapes)
    change(model)
    arrays = saved(model, tmp_path / "a.safetensors", state)
    assert {name: array.shape for name, array in arrays.items()} == shapes
    again, _ = GRAPHS[name]()
    load_pretrained(again, arrays, layout="torch")
    for weight, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), to_numpy(expected))


def test_the_numbers_of_torch_stand_where_torch_has_them(tmp_path):
    model = built((3,), layers.Dense(2, name="m"))
    kernel = np.arange(6, dtype="float32").reshape(3, 2)
    model.layers[0].set_weights([kernel, np.array([7, 8])])
    arrays = saved(model, tmp_path / "a.safetensors", state_of({"m.weight": (2, 3), "m.bias": (2,)}))
    assert arrays["m.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert arrays["m.bias"].tolist() == [7, 8]


def test_gates_stand_where_torch_has_them(tmp_path):
    model = built((2, 1), layers.GRU(1, name="m"))
    cell = model.layers[0].cell
    cell.kernel.assign([[1, 2, 3]])  # update, reset, new
    cell.bias.assign([[1, 2, 3], [4, 5, 6]])
    state = state_of({"m.weight_ih_l0": (3, 1), "m.weight_hh_l0": (3, 1), "m.bias_ih_l0": (3,), "m.bias_hh_l0": (3,)})
    arrays = saved(model, tmp_path / "a.safetensors", state)
    assert arrays["m.weight_ih_l0"][:, 0].tolist() == [2, 1, 3]
    assert arrays["m.bias_ih_l0"].tolist() == [2, 1, 3]
    assert arrays["m.bias_hh_l0"].tolist() == [5, 4, 6]


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", often(["bfloat16", "float16", "float64"], ["bfloat16"]))
def test_each_dtype_keeps_its_bits(dtype, tmp_path):
    model, shapes = GRAPHS["flattened"]()
    state = state_of(shapes, dtype=dtype)
    loaded(model, state)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state), state)


def test_two_layers_of_one_module_have_their_places(tmp_path):
    model = built((6, 4), layers.LSTM(4, return_sequences=True, name="first"), layers.LSTM(4, name="second"))
    state = state_of(of_cells(4, units=4, suffixes=("_l0", "_l1")))
    names = {"first": "m", "second": "m"}
    loaded(model, state, names)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state, names), state)


def parts_of_one_array():
    """Return a model, names that give its weights parts of one array, and the array."""
    model = built((4,), layers.Dense(4, name="a"), layers.Dense(4, name="b"))
    state = state_of({"both": (8, 4), "bias": (4, 2, 1), "of nobody": (2,)})
    names = {
        "a/kernel": ("both", np.s_[:4]),
        "b/kernel": ("both", np.s_[4:]),
        "a/bias": ("bias", np.s_[:, 0, 0]),
        "b/bias": ("bias", np.s_[:, 1, 0]),
    }
    return model, names, state


@pytest.mark.every_backend
def test_parts_of_one_array_are_written_beside_each_other(tmp_path):
    model, names, state = parts_of_one_array()
    loaded(model, state, names)
    kernel, bias = change(model).layers[0].get_weights()
    arrays = saved(model, tmp_path / "a.safetensors", state, names)
    np.testing.assert_array_equal(arrays["both"][:4], kernel.T)
    np.testing.assert_array_equal(arrays["bias"][:, 0, 0], bias)
    np.testing.assert_array_equal(arrays["of nobody"], state["of nobody"])


def test_a_scalar_stands_where_it_is_read(tmp_path):
    class Scaled(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), name="scale")

        def call(self, x):
            return x * self.scale

    model = built((4,), Scaled(name="a"))
    model.layers[0].scale.assign(3.0)
    state = {"scales": np.arange(5, dtype="float32")}
    names = {"a/scale": ("scales", lambda array: np.copy(array)[2])}
    arrays = saved(model, tmp_path / "a.safetensors", state, names)
    assert arrays["scales"].tolist() == [0, 1, 3, 3, 4]
    save_pretrained(model, tmp_path / "a.safetensors", {"a/scale": ("scales", 4)}, like=state, layout="torch")
    assert read(tmp_path / "a.safetensors")["scales"].tolist() == [0, 1, 2, 3, 3]


def test_what_no_weight_reads_of_an_array_stays(tmp_path):
    model = built((4,), layers.Dense(4, use_bias=False, name="a"))
    state = state_of({"both": (8, 4)})
    arrays = saved(change(model), tmp_path / "a.safetensors", state, {"a/kernel": ("both", np.s_[2:6])})
    np.testing.assert_array_equal(arrays["both"][2:6], model.layers[0].get_weights()[0].T)
    np.testing.assert_array_equal(arrays["both"][[0, 1, 6, 7]], state["both"][[0, 1, 6, 7]])


# Functions that move values only, though some work on floating-point numbers.
MOVES = {
    "axes": lambda array: array.T,
    "rolled": lambda array: np.roll(array, 1, axis=0).T,
    "rotary": lambda array: array.reshape(2, -1, len(array)).swapaxes(0, 1).reshape(array.shape).T,
    "floats": lambda array: np.asarray(array, "float32")[::-1].T,
}


@pytest.mark.parametrize("name", MOVES)
def test_a_function_that_moves_needs_no_inverse(name, tmp_path):
    model = built((4,), layers.Dense(4, use_bias=False, name="a"))
    state = state_of({"w": (4, 4)})
    arrays = saved(change(model), tmp_path / "a.safetensors", state, {"a/kernel": ("w", MOVES[name])})
    np.testing.assert_array_equal(MOVES[name](arrays["w"]), model.layers[0].get_weights()[0])


@pytest.fixture
def small_blocks(monkeypatch):
    """Write and compare few values at a time, so that small arrays have many blocks, as large ones do."""
    for name, size in {"_BLOCK_SIZE": 6, "_CHUNK_SIZE": 4, "_RUN": 2, "_SHORT": 3}.items():
        monkeypatch.setattr(_way_back, name, size)


@pytest.mark.parametrize(
    "name", ["convolution", "einsum", "grouped", "depthwise", "gru", "lstm", "flattened", "pooled"]
)
def test_arrays_of_many_blocks_are_saved_like_those_of_one(name, small_blocks, tmp_path):
    model, shapes = GRAPHS[name]()
    state = state_of(shapes)
    change(model)
    arrays = saved(model, tmp_path / "a.safetensors", state)
    again, _ = GRAPHS[name]()
    load_pretrained(again, arrays, layout="torch")
    for weight, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), to_numpy(expected))


def shuffled(array):
    """Return an array whose values are in no order along an axis."""
    order = np.random.default_rng(0).permutation(array.size)
    return array.reshape(-1)[order].reshape(array.shape).T


@pytest.mark.parametrize("move", [shuffled, *MOVES.values()], ids=["shuffled", *MOVES])
def test_a_function_that_moves_values_of_many_blocks_needs_no_inverse(move, small_blocks, tmp_path):
    model = built((8,), layers.Dense(8, use_bias=False, name="a"))
    arrays = saved(change(model), tmp_path / "a.safetensors", state_of({"w": (8, 8)}), {"a/kernel": ("w", move)})
    np.testing.assert_array_equal(move(arrays["w"]), model.layers[0].get_weights()[0])


@pytest.mark.parametrize("change_of", [lambda w: w + 1, lambda w: 2 * w, lambda w: -w], ids=["plus", "times", "minus"])
def test_a_function_that_computes_values_is_refused(change_of, tmp_path):
    model = change(built((8,), layers.Dense(8, use_bias=False, name="a")))
    with pytest.raises(ValueError, match=r"pass `\(name, function, inverse\)` in `names`"):
        saved(model, tmp_path / "a.safetensors", state_of({"w": (8, 8)}), {"a/kernel": ("w", change_of)})


@pytest.mark.rare
@pytest.mark.parametrize("move", [np.transpose, lambda array: array[:, ::-1].T], ids=["transposed", "reversed"])
def test_positions_above_those_of_float32_are_exact(move, tmp_path):
    model = built((9_000_000,), layers.Dense(2, use_bias=False, name="a"))
    state = {"w": np.zeros((2, 9_000_000), "float32")}
    model.layers[0].kernel.assign(np.arange(18_000_000, dtype="float32").reshape(9_000_000, 2) % 8191)
    arrays = saved(model, tmp_path / "a.safetensors", state, {"a/kernel": ("w", move)})
    np.testing.assert_array_equal(move(arrays["w"]), to_numpy(model.layers[0].kernel))


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_the_order_of_fortran_are_written_in_that_of_c(order, tmp_path):
    model, shapes = GRAPHS["convolution"]()
    state = {name: np.asarray(array, order=order) for name, array in state_of(shapes).items()}
    state["of nobody"] = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    loaded(model, state)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state), state)


FAULTS = {
    "another order of axes": lambda array: np.asarray(array).T.copy().reshape(array.shape) if array.ndim > 1 else array,
    "one bit": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 3, -array, array),
    "the array of before": np.zeros_like,
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("graph", ["dense", "convolution", "gru", "attention", "flattened"])
def test_loading_again_finds_each_fault_of_what_was_written(name, graph, tmp_path, monkeypatch):
    model, shapes = GRAPHS[graph]()
    state = state_of(shapes)
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"as it was")
    write = _save_pretrained.write_safetensors

    def write_badly(file, described, arrays, metadata):
        write(file, described, map(FAULTS[name], arrays), metadata)

    monkeypatch.setattr(_save_pretrained, "write_safetensors", write_badly)
    with pytest.raises(ValueError, match="values differ when they are loaded again"):
        save_pretrained(change(model), path, like=state, layout="torch")
    assert path.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_is_saved_over_the_file_that_it_was_loaded_from(tmp_path):
    model, shapes = GRAPHS["flattened"]()
    path = tmp_path / "a.safetensors"
    saved(change(model), path, state_of(shapes))
    saved(change(model, seed=2), path, path)
    again, _ = GRAPHS["flattened"]()
    load_pretrained(again, path, layout="torch")
    np.testing.assert_array_equal(to_numpy(again.weights[0]), to_numpy(model.weights[0]))
    assert list(read(path)) == list(shapes)
