"""What loading, or an initialization, never writes is known to the bit and drawn anew."""

import math
import pathlib
import re
import warnings

import keras
import numpy as np
import pytest
from modes import everywhere, float64, to_numpy
from stacks import built, with_torch_module
from tied import SharedKernel

import keras_initx
from keras_initx import load_pretrained, weights_digest
from keras_initx._checks import DTYPES
from keras_initx.backends._current import backend
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._unwritten_mark import count_unwritten

layers = keras.layers


def network(classes=3):
    return built(
        (2,),
        layers.Embedding(6, 4, name="table"),
        layers.Flatten(),
        layers.Dense(4, name="hidden"),
        layers.BatchNormalization(name="norm"),
        layers.Dense(classes, name="head"),
    )


def tied():
    """Return a model with a layer that is called twice, and one that uses the kernel of another."""
    inputs = keras.Input((4,))
    hidden = layers.Dense(4, name="hidden")
    x = hidden(hidden(inputs))
    last = SharedKernel(hidden.kernel, name="last")
    return keras.Model(inputs, layers.Dense(2, name="head")(last(x)))


def values(model):
    return {weight.path: backend.host_view(weight.variable).copy() for weight in Inventory(model).weights}


def assign(model, state):
    """Assign the arrays of a state dict as the loop of a user does: those whose names are there."""
    for weight in Inventory(model).weights:
        name = weight.path.replace("/", ".")
        if name in state:
            weight.variable.assign(state[name])


def state(source, left_out):
    arrays = {path.replace("/", "."): array for path, array in values(source).items()}
    return {name: array for name, array in arrays.items() if not name.startswith(left_out)}


def load_another_head(model, source):
    source.save_weights("source.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of Keras, which names the layer
        model.load_weights("source.weights.h5", skip_mismatch=True)


def load_file(model, source):
    source.save("source.keras")
    model.load_weights("source.keras")


def load_rows(model, source):
    assign(model, state(source, "table"))
    table = to_numpy(model.get_layer("table").embeddings).copy()
    table[:4] = values(source)["table/embeddings"][:4]
    model.get_layer("table").embeddings.assign(table)


def load_from_first_layer(model, source):
    model.get_layer("hidden").set_weights(source.get_layer("hidden").get_weights())


NORM = ["norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"]
HIDDEN = ["hidden/kernel", "hidden/bias"]
HEAD = ["head/kernel", "head/bias"]
# What loads a model from another, and what this misses.
KINDS = {
    "a saved model": (load_file, []),
    "another head": (load_another_head, HEAD),
    "rules without a layer": (
        lambda model, source: load_pretrained(model, source, {"norm/*": None, "*": "{0}"}),
        NORM,
    ),
    "the first rows": (load_rows, ["table/embeddings"]),
    "a tied layer": (load_from_first_layer, HEAD),
    "nothing": (lambda model, source: None, ["table/embeddings", *HIDDEN, *NORM, *HEAD]),
}


def fail_while_loading(model, load):
    with keras_initx.loading(model):
        load()
        raise ZeroDivisionError


def pair(kind):
    """Return a model and what it is loaded from."""
    make = tied if kind == "a tied layer" else network
    model = make(5) if kind == "another head" else make()
    source = make()
    keras_initx.initialize(model, seed=2)
    keras_initx.initialize(source, {"*": "random_normal"}, seed=3)
    return model, source


@pytest.mark.parametrize("kind", everywhere(KINDS, ["another head", "the first rows"]))
def test_what_loading_never_wrote_is_drawn_anew(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load, missed = KINDS[kind]
    model, source = pair(kind)
    plan = keras_initx.initialize(model, seed=1, dry_run=True)
    with keras_initx.loading(model, seed=1) as loaded:
        load(model, source)
    assert loaded.missed == missed
    expected = {**values(source), **{path: plan.draw(path) for path in missed}}
    if kind == "the first rows":
        expected["table/embeddings"][:4] = values(source)["table/embeddings"][:4]
    for path, array in values(model).items():
        np.testing.assert_array_equal(array, expected[path])


@pytest.mark.every_backend
def test_after_an_error_all_weights_are_as_before():
    model, source = pair("the first rows")
    before = weights_digest(model)
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: load_rows(model, source))
    assert weights_digest(model) == before


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_survive_in_each_dtype(dtype):
    with float64():
        model = built((3,), layers.Dense(2, name="head", dtype=dtype))
        with keras_initx.loading(model) as loaded:
            for weight in model.weights:
                assert count_unwritten(weight.value) == (math.prod(weight.shape), 0)
            # NaN of a checkpoint, or what a neutral copy in 16 bits makes of the mark.
            model.layers[0].kernel.assign(np.full((3, 2), np.nan, "float32"))
    assert (loaded.missed, loaded.not_known, loaded.ok) == (["head/bias"], ["head/kernel"], False)
    assert loaded.rows[0].detail == "6 of 6 values are NaN, perhaps never written"
    assert np.isnan(to_numpy(model.layers[0].kernel).astype("float32")).all()


def test_wrapped_layers_are_loaded_in_16_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of_16_bits(classes):
        wrapper = layers.Bidirectional(layers.GRU(3, recurrent_initializer="he_normal"), name="wrapper")
        return built((2, 4), wrapper, layers.Dense(classes, name="head"))

    keras.config.set_dtype_policy("bfloat16")
    try:
        source, model = of_16_bits(2), of_16_bits(5)
    finally:
        keras.config.set_dtype_policy("float32")
    with keras_initx.loading(model, seed=1) as loaded:
        load_another_head(model, source)
    assert loaded.missed == HEAD
    expected = values(source)
    for path, array in values(model).items():
        if path not in HEAD:
            np.testing.assert_array_equal(array, expected[path])


# On JAX and TensorFlow a `Normalization` keeps copies of its weights, on torch views of them.
@pytest.mark.every_backend
def test_the_result_says_what_was_done_with_each_weight():
    norm = layers.Normalization(name="norm")
    model = built((2,), norm, layers.Dense(3, name="head"))
    norm.adapt(np.array([[1.0, 2], [3, 6]]))
    kernel = model.get_layer("head").kernel
    with keras_initx.loading(model, seed=7) as loaded:
        rows = to_numpy(kernel).copy()
        rows[0] = 1
        kernel.assign(rows)
    assert str(loaded) == (
        "weight          shape  status\n"
        "------------------------------------------------------------\n"
        "norm/mean        (2,)  left: adapted to data\n"
        "norm/variance    (2,)  left: adapted to data\n"
        "head/kernel    (2, 3)  drawn: 3 of 6 values, GlorotUniform()\n"
        "head/bias        (3,)  drawn: Zeros()\n\n"
        "4 of 4 weights were never written, or only in part: 2 redrawn, seed 7; 2 as before."
    )
    assert [row.changed for row in loaded.rows] == [0, 0, 3, 0]
    np.testing.assert_array_equal(to_numpy(norm(np.array([[2.0, 4]]))), [[0, 0]])
    with keras_initx.loading(model) as loaded:
        for weight in Inventory(model).weights:
            weight.variable.assign(keras.ops.ones(weight.shape, weight.dtype))
    assert (loaded.missed, repr(loaded)) == ([], "<Loaded: All 4 weights were written>")
    np.testing.assert_allclose(to_numpy(norm(np.array([[2.0, 4]]))), [[1, 3]], rtol=1e-6)


def test_nothing_is_known_before_the_end_of_the_block():
    with keras_initx.loading(network()) as loaded:
        assert repr(loaded) == "<Loaded: not known yet>"
        for name in ("rows", "missed", "not_known", "ok", "models", "seed", "summary"):
            with pytest.raises(RuntimeError, match="Read the result of `loading` after its block"):
                getattr(loaded, name)


@pytest.mark.parametrize(
    ("model", "rules", "message"),
    [
        (keras.Sequential([layers.Dense(3)]), None, "`model` must be built"),
        (network(), {"heads/*": "zeros"}, "must match a weight. Received: 'heads/\\*'"),
        (network(), {"head/bias": "initx.orthogonal"}, "at least 2 dimensions"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_anything_changes(model, rules, message):
    before = [to_numpy(variable).copy() for variable in model.variables]
    with pytest.raises(ValueError, match=message), keras_initx.loading(model, rules):
        raise AssertionError("the block was entered")
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), value)


def test_a_saved_plan_gives_the_missing_values(tmp_path):
    model = network()
    keras_initx.initialize(model, {"head/kernel": "initx.orthogonal"}, seed=4).save(tmp_path / "init.json")
    before = weights_digest(model)
    keras_initx.initialize(model, seed=5)
    with keras_initx.loading(model, tmp_path / "init.json") as loaded:
        pass
    assert weights_digest(model) == before
    assert loaded.seed == 4


def test_a_block_within_another_leaves_it_what_it_does_not_draw():
    model = built((4,), layers.Dense(3, name="hidden"), layers.Dense(2, name="head"))
    with keras_initx.loading(model, {"*": "zeros"}) as outer:
        model.get_layer("hidden").kernel.assign(np.full((4, 3), 2.0))
        with keras_initx.loading(model, {"hidden/*": None, "*": "ones"}) as inner:
            model.get_layer("head").bias.assign([3.0, 3])
    assert inner.missed == [*HIDDEN, "head/kernel"]
    assert outer.missed == ["hidden/bias"]
    assert [np.unique(array).tolist() for array in values(model).values()] == [[2], [0], [1], [3]]


@pytest.mark.rare
def test_quantized_layers_have_their_former_values():
    model = built((4,), layers.Dense(3, name="hidden"), layers.Dense(2, name="head"))
    for layer in model.layers:
        layer.quantize("int8")
    before = weights_digest(model)
    with keras_initx.loading(model) as loaded:
        pass
    assert weights_digest(model) == before
    names = ("bias", "kernel", "kernel_scale")
    assert loaded.missed == [f"{layer}/{name}" for layer in ("hidden", "head") for name in names]


@pytest.mark.release_backends
def test_factors_of_lora_that_are_to_be_drawn_are_not_in_the_way_of_a_kernel():
    model, source = network(), network()
    model.get_layer("hidden").enable_lora(2)
    model.get_layer("hidden").lora_kernel_b.assign(np.ones((2, 4)))
    with keras_initx.loading(model) as loaded:
        load_pretrained(model, source)
    assert loaded.missed == ["hidden/lora_kernel_a", "hidden/lora_kernel_b"]
    np.testing.assert_array_equal(to_numpy(model.get_layer("hidden").kernel), values(source)["hidden/kernel"])


def test_what_torch_writes_is_seen_and_buffers_are_put_back():
    import torch

    model = built((4,), layers.TorchModuleWrapper(torch.nn.BatchNorm1d(4), name="norm"), layers.Dense(2, name="head"))
    model(keras.ops.ones((2, 4)))
    norm = model.layers[0].module
    before = norm.running_mean.tolist()
    other = torch.nn.BatchNorm1d(4)
    other.running_mean.fill_(7)
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: norm.load_state_dict(other.state_dict()))
    assert norm.running_mean.tolist() == before
    with keras_initx.loading(model) as loaded:
        norm.load_state_dict(other.state_dict())
        model.get_layer("head").kernel.value.data[:] = 1
    assert norm.running_mean.tolist() == [7] * 4
    assert loaded.missed == ["head/bias"]


class Scaled(layers.Layer):
    """Has a torch module with buffers of each kind, and a buffer of its own."""

    def __init__(self, dtype="float32", **kwargs):
        import torch

        super().__init__(**kwargs)
        self.norm = torch.nn.Sequential(torch.nn.BatchNorm1d(4, dtype=getattr(torch, dtype)))
        self.norm.module[0].register_buffer("scratch", torch.ones(3), persistent=False)
        self.register_buffer("scale", torch.ones(4))

    def call(self, x):
        return x * self.scale


STATISTICS = [f"scaled/torch_module_wrapper/0.running_{name}" for name in ("mean", "var")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_buffers_that_are_not_written_are_missed_and_have_their_former_values(dtype):
    model = built((4,), Scaled(dtype, name="scaled"))
    norm = model.layers[0].norm.module[0]
    norm.running_mean.fill_(3)
    with keras_initx.loading(model, seed=0) as loaded:
        assert norm.running_mean.isnan().all()
        norm.load_state_dict({"weight": norm.weight * 0 + 5}, strict=False)
    assert loaded.missed[-3:] == ["scaled/scale", *STATISTICS]
    assert [row.detail for row in loaded.rows[-3:]] == ["a buffer of torch"] * 3
    assert norm.running_mean.tolist() == [3] * 4


@pytest.mark.parametrize("assign", [False, True])
def test_buffers_that_are_written_or_replaced_are_loaded(assign):
    model = built((4,), Scaled(name="scaled"))
    norm = model.layers[0].norm.module[0]
    state = {name: value.clone() for name, value in norm.state_dict().items() if "running" in name}
    with keras_initx.loading(model) as loaded:
        norm.load_state_dict(state, strict=False, assign=assign)
    assert not set(STATISTICS) & set(loaded.missed)
    assert norm.running_var.tolist() == [1] * 4


def test_what_two_layers_share_is_missed_in_both_or_none():
    import torch

    module = torch.nn.BatchNorm1d(4)
    shared = [layers.TorchModuleWrapper(module, name=name) for name in ("a", "b")]
    model = keras.Sequential(shared)
    model(np.ones((2, 4), "float32"))
    with keras_initx.loading(model, {"*": "ones"}) as loaded:
        pass
    names = [f"{name}/{one}" for name in "ab" for one in ("weight", "bias")]
    assert loaded.missed == [*names, "a/running_mean", "a/running_var"]


OWN_NAMES = ["net/0.weight", "net/0.bias", "net/1.weight", "net/1.bias"]


def test_rules_have_the_names_of_a_torch_module_and_the_numbers_of_keras():
    model = with_torch_module()
    with keras_initx.loading(model, {"net/0.*": "ones", "net/variable_2": "zeros"}, seed=0) as loaded:
        pass
    assert loaded.missed == [*OWN_NAMES, "net/1.running_mean", "net/1.running_var"]
    assert [row.detail for row in loaded.rows[:4]] == ["Ones()", "Ones()", "Zeros()", "initializer unknown"]
    plan = keras_initx.initialize(model, {"*bias": "zeros"}, dry_run=True)
    assert [weight.path for weight in plan.rows if weight.initializer] == ["net/variable_1", "net/variable_3"]
    with pytest.raises(ValueError, match=r"close matches are 'net/0\.weight'"):
        keras_initx.initialize(model, {"0.weight": "zeros"})


def test_the_names_in_a_torch_module_are_those_of_its_arrays():
    model, state = with_torch_module(), with_torch_module().layers[0].module.state_dict()
    changes = load_pretrained(model, state, {"net/1.*": None, "net/*": "{0}"}, layout="torch")
    assert [row.path for row in changes.rows if row.status == "loaded"] == OWN_NAMES[:2]


def test_the_weights_of_another_model_have_the_numbers_of_keras_too():
    model, source = with_torch_module(), with_torch_module()
    changes = load_pretrained(model, source, {"net/*": "net/{0}"})
    assert [row.path for row in changes.rows if row.sources] == [row.path for row in changes.rows]


def test_the_page_shows_what_a_torch_module_has_missed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page = pathlib.Path(__file__).parents[3].joinpath("docs", "loading.md").read_text()
    ((program, printed),) = re.findall(r"```python\n([^`]*)```\n\n```text\n([^`]*)```", page)
    exec(program, {})
    assert capsys.readouterr().out == printed


@pytest.mark.release_backends
def test_states_of_recurrent_layers_are_put_back_after_an_error():
    inputs = keras.Input((3, 4), batch_size=2)
    model = keras.Model(inputs, layers.LSTM(3, stateful=True)(inputs))
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: model.layers[1].states[0].assign(np.ones((2, 3))))
    assert not to_numpy(model.layers[1].states[0]).any()


def test_fresh_factors_of_lora_that_were_loaded_are_no_missed_ones():
    model = network()
    hidden = model.get_layer("hidden")
    hidden.enable_lora(2)
    factors = {"hidden/lora_kernel_a": np.full((8, 2), 3.0), "hidden/lora_kernel_b": np.zeros((2, 4))}
    with keras_initx.loading(model) as loaded:
        hidden.lora_kernel_a.assign(factors["hidden/lora_kernel_a"])
        hidden.lora_kernel_b.assign(factors["hidden/lora_kernel_b"])
    assert not factors.keys() & set(loaded.missed)
    np.testing.assert_array_equal(to_numpy(hidden.lora_kernel_a), factors["hidden/lora_kernel_a"])


@pytest.mark.parametrize("is_inside", [False, True])
def test_every_buffer_of_torch_is_as_before_after_an_error(is_inside):
    import torch

    model = built((4,), Scaled(name="scaled"))
    outer = built((4,), model) if is_inside else model
    scaled = model.layers[0]
    norm = scaled.norm.module[0]
    buffers = {"scale": scaled.scale, "scratch": norm.scratch, "mean": norm.running_mean}
    before = {name: buffer.tolist() for name, buffer in buffers.items()}

    def change():
        for buffer in buffers.values():
            buffer.fill_(7)
        norm.register_buffer("running_mean", torch.full((4,), 9.0))

    with pytest.raises(ZeroDivisionError):
        fail_while_loading(outer, change)
    after = {"scale": scaled.scale, "scratch": norm.scratch, "mean": norm.running_mean}
    assert {name: buffer.tolist() for name, buffer in after.items()} == before
