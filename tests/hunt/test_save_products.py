"""Models that are saved for torch, in pairs: wrappers, dtypes, frozen layers, shards, ties."""

import itertools

import keras
import numpy as np
import pytest
from modes import often, to_numpy
from saved import assert_same_bits, attention, built, change, of_cells, read, state_of

from keras_initx import load_pretrained, save_pretrained
from keras_initx.files._safetensors import ArraySpec, format_dtype, write_safetensors

layers = keras.layers
BOTH = ("_l0", "_l0_reverse")
FLOATS = ("float32", "bfloat16", "float16")


def recurrent(kind):
    """Return a layer in any dtype: the initializer of its square kernel has float32 only."""
    return kind(3, recurrent_initializer="zeros")


def nested():
    body = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="m")], name="body")
    return built((4,), body, layers.Dense(3, name="out"))


MODELS = {
    "frames": lambda: (
        built((2, 6, 5, 4), layers.TimeDistributed(layers.Conv2D(3, 2), name="m")),
        {"m.weight": (3, 4, 2, 2), "m.bias": (3,)},
    ),
    "steps": lambda: (
        built((6, 4), layers.TimeDistributed(layers.Dense(5), name="m")),
        {"m.weight": (5, 4), "m.bias": (5,)},
    ),
    "lstm": lambda: (
        built((6, 4), layers.Bidirectional(recurrent(layers.LSTM), name="m")),
        of_cells(4, suffixes=BOTH),
    ),
    "gru": lambda: (
        built((6, 4), layers.Bidirectional(recurrent(layers.GRU), name="m")),
        of_cells(3, suffixes=BOTH),
    ),
    "simple": lambda: (
        built((6, 4), layers.Bidirectional(recurrent(layers.SimpleRNN), name="m")),
        of_cells(1, suffixes=BOTH),
    ),
    "attention": lambda: (
        attention(),
        {"m.in_proj_weight": (24, 8), "m.in_proj_bias": (24,), "m.out_proj.weight": (8, 8), "m.out_proj.bias": (8,)},
    ),
    "nested": lambda: (
        nested(),
        {"body.m.weight": (5, 4), "body.m.bias": (5,), "out.weight": (3, 5), "out.bias": (3,)},
    ),
    "normalized": lambda: (
        built((2, 6, 5, 4), layers.TimeDistributed(layers.BatchNormalization(epsilon=1e-5), name="m")),
        {f"m.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")},
    ),
}


def as_dict(state, folder):
    return state


def as_shards(state, folder):
    """Write each array to a file of its own."""
    folder.mkdir()
    for number, (name, array) in enumerate(state.items(), 1):
        described = {name: ArraySpec(format_dtype(array.dtype.name), array.shape, array.nbytes)}
        path = folder / f"model-{number:05}-of-{len(state):05}.safetensors"
        write_safetensors(path, described, [array], {"format": "pt"})
    return sorted(map(str, folder.glob("*.safetensors")))


PRODUCTS = list(itertools.product(MODELS, FLOATS, FLOATS, [as_dict, as_shards]))


@pytest.mark.every_backend
@pytest.mark.parametrize("product", often(PRODUCTS, PRODUCTS[::37]))
def test_what_is_frozen_keeps_its_bits_and_what_is_trained_is_loaded_again(product, tmp_path):
    name, dtype, stored, form = product
    keras.config.set_dtype_policy(dtype)
    try:
        (model, shapes), (again, _) = MODELS[name](), MODELS[name]()
    finally:
        keras.config.set_dtype_policy("float32")
    state = state_of(shapes, dtype=stored)
    like = form(state, tmp_path / "like")
    report = load_pretrained(model, like, layout="torch")
    path = tmp_path / "a.safetensors"
    save_pretrained(model, path, report, like=like)
    assert_same_bits(read(path), state)

    first = model.weights[0]
    values = to_numpy(first)
    change(model)
    first.assign(values)
    expected = [to_numpy(weight).astype(stored).astype(dtype) for weight in model.weights]
    save_pretrained(model, path, report, like=like)
    load_pretrained(again, path, layout="torch")
    for weight, value in zip(again.weights, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(to_numpy(weight), "float32"), np.asarray(value, "float32"))
    arrays = read(path)
    if len(report.rows[0].sources) == 1:
        (source,) = report.rows[0].sources
        if all(source not in row.sources for row in report.rows[1:]):
            assert arrays[source].tobytes() == state[source].tobytes()
    assert {array.dtype.name for array in arrays.values()} == {stored}


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("is_trained", [False, True])
def test_a_tied_table_of_words_is_written_to_both_names(dtype, is_trained, tmp_path):
    words = state_of({"words.weight": (7, 4)}, dtype=dtype)["words.weight"]
    model = built((6,), layers.Embedding(7, 4, name="words", dtype=dtype))
    like = {"words.weight": words, "head.weight": words}
    load_pretrained(model, like, layout="torch")
    if is_trained:
        change(model)
    save_pretrained(model, tmp_path / "a.safetensors", like=like, layout="torch")
    arrays = read(tmp_path / "a.safetensors")
    assert arrays["words.weight"].tobytes() == arrays["head.weight"].tobytes()
    assert (arrays["words.weight"].tobytes() == words.tobytes()) != is_trained
