"""Weights are found by the names that Keras gives them, to be loaded and to be audited, in files and in dicts."""

import ast
import re

import h5py
import keras
import numpy as np
import pytest
from modes import everywhere, needs_keras, to_numpy
from stacks import arrays, changed

from keras_initx import audit, load_pretrained
from keras_initx.inspection._inventory import Inventory

layers = keras.layers
RANDOM = np.random.default_rng(0)


def functional(dtype="bfloat16"):
    """Return a model with automatic names of two digits, wrappers and a model within."""
    inputs = keras.Input((6, 8))
    x = layers.Dense(8)(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(8))(x)
    block = [layers.Dense(8), layers.Dropout(0.1), layers.BatchNormalization(), layers.Dense(8, dtype=dtype)]
    x = keras.Sequential(block, name="block")(x)
    for _ in range(11):
        x = layers.Dense(8, use_bias=False)(x)
    return keras.Model(inputs, layers.GRU(3, name="gru")(x))


@keras.saving.register_keras_serializable("tests")
class Blocks(keras.Model):
    """Holds layers by attributes, in a list and in a dict, in no order of their names."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.z_first = layers.Dense(8)
        self.blocks = [layers.Dense(8), keras.Sequential([layers.Dense(8), layers.Dense(8)]), layers.Dense(8)]
        self.by_name = {"b": layers.LayerNormalization(), "a": layers.LayerNormalization()}
        self.a_last = layers.Dense(8)

    def call(self, x):
        for layer in [self.z_first, *self.blocks, *self.by_name.values(), self.a_last]:
            x = layer(x)
        return x


def subclassed():
    model = Blocks()
    model(np.zeros((1, 8), "float32"))
    return model


@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    """Saves its weights under names of its own, one of them as an array."""

    def build(self, shape):
        self.table = self.add_weight((8, 8), name="table")
        self.offset = self.add_weight((8,), name="offset")

    def call(self, x):
        return x @ self.table + self.offset

    def save_own_variables(self, store):
        store["offset"] = self.offset
        store["the table"] = keras.ops.convert_to_numpy(self.table)

    def load_own_variables(self, store):
        self.offset.assign(store["offset"])
        self.table.assign(store["the table"])


def own():
    return keras.Sequential([keras.Input((8,)), Own(), layers.Dense(8), Own()])


def quantized():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Dense(4), layers.EinsumDense("ab,bc->ac", 4)])
    for layer in model.layers:
        layer.quantize("int8")
    return model


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """Has two layers whose chosen names are like automatic ones of its class."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block_2 = layers.Dense(8, name="block_2")
        self.block_1 = layers.Dense(8, name="block_1")

    def call(self, x):
        return self.block_2(self.block_1(x))


def chosen():
    Block()  # so that automatic names have numbers, like those that are chosen
    inputs = keras.Input((8,))
    return keras.Model(inputs, Block()(Block()(inputs)))


def both_ways(units, **options):
    """Return a `Bidirectional` with a backward layer of its own."""
    backward = layers.LSTM(units, return_sequences=True, go_backwards=True, **options)
    return layers.Bidirectional(layers.LSTM(units, return_sequences=True, **options), backward_layer=backward)


def bidirectional():
    """Return a model with such layers alone, within a model and a wrapper, and a name like theirs."""
    # The oldest torch has no QR decomposition in 16 bits.
    short = both_ways(3, dtype="bfloat16", recurrent_initializer="glorot_uniform")
    stack = [both_ways(3), keras.Sequential([short, layers.LSTM(2, return_sequences=True)])]
    stack += [layers.Reshape((2, 3, 2)), layers.TimeDistributed(both_ways(2)), layers.Reshape((6, 4))]
    return keras.Sequential([keras.Input((6, 4)), *stack, layers.LSTM(2, name="forward_lstm_7")])


MODELS = {
    "bidirectional": bidirectional,
    "functional": functional,
    "subclassed": subclassed,
    "own": own,
    "quantized": quantized,
    "chosen": chosen,
}
# Each model and each format once.
CASES = [
    ("functional", "a.keras"),
    pytest.param(
        "functional", "a.weights.json", marks=needs_keras("3.15", "names all files of a layer in the list of its files")
    ),
    pytest.param("functional", "a.weights.h5", marks=pytest.mark.rare),
    ("subclassed", "a.weights.h5"),
    pytest.param("own", "a.keras", marks=pytest.mark.release_backends),
    pytest.param("quantized", "a.weights.h5", marks=pytest.mark.rare),
    pytest.param("chosen", "a.weights.h5", marks=pytest.mark.rare),
    ("bidirectional", "a.weights.h5"),
    pytest.param("bidirectional", "a.keras", marks=pytest.mark.rare),
]


def saved(model, path):
    if path.name.endswith(".json"):
        model.save_weights(path, max_shard_size=1e-6)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


@pytest.mark.parametrize(("name", "file"), CASES)
def test_a_model_that_was_built_again_needs_no_rules(name, file, tmp_path):
    path = saved(source := changed(MODELS[name]()), tmp_path / file)
    model = changed(MODELS[name]())
    plan = load_pretrained(model, path)
    assert not plan.left
    expected = arrays(source)
    for weight, values in arrays(model).items():
        np.testing.assert_array_equal(values, expected[weight], weight)


def shared(name=None):
    dense = layers.Dense(8, name=name)
    inputs = keras.Input((8,))
    x = keras.Sequential([keras.Input((8,)), dense, layers.Dense(8)], name="inner")(inputs)
    return keras.Model(inputs, layers.Dense(8)(dense(x)))


def test_a_layer_that_several_have_is_found_where_it_is_saved(tmp_path):
    path = saved(source := changed(shared()), tmp_path / "a.weights.h5")
    model = shared()
    assert not load_pretrained(model, path).left
    for values, expected in zip(arrays(model).values(), arrays(source).values(), strict=True):
        np.testing.assert_array_equal(values, expected)


def dense(*names):
    return keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in names)])


RULES = {
    "layers": {"y*": "x{0}"},
    "weights": {"y*/kernel": "x{0}/kernel", "*/bias": ("x1/bias", np.s_[:])},
}


@pytest.mark.parametrize(
    ("rules", "file"),
    [("layers", "a.keras"), ("weights", "a.weights.h5"), ("layers", "a.h5"), ("weights", "a.h5")],
)
def test_rules_lead_from_names_of_layers_to_those_in_the_file(rules, file, tmp_path):
    source = changed(dense("x1", "x2"))
    source.layers[1].bias.assign(source.layers[0].bias)
    model = dense("y1", "y2")
    assert not load_pretrained(model, saved(source, tmp_path / file), RULES[rules], layout="keras").left
    for values, expected in zip(arrays(model).values(), arrays(source).values(), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_a_missing_weight_has_close_matches_of_its_kind(tmp_path):
    path = saved(dense("encoder", "head"), tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"'y/kernel' .*: no array .* close matches are 'encoder/0'"):
        load_pretrained(dense("y"), path, {"y": "encodr"})


def test_groups_and_weights_may_have_the_names_of_keras_2(tmp_path):
    """Files of Keras 2: a group for each layer, the names of its weights whole, with a number of the output."""
    stack = [keras.Input((5, 4)), layers.LSTM(3), layers.Dense(3), layers.Dense(3)]
    source = changed(keras.Sequential(stack))
    names = ["lstm_7/lstm_7/lstm_cell_9/", "dense_12/dense_12/", "dense_9/dense_9/"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for layer, name in zip(source.layers, names, strict=True):
            for weight, values in zip(layer.weights, layer.get_weights(), strict=True):
                file[f"model_weights/{name}{weight.name}:0"] = values
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3), layers.Dense(3), layers.Dense(3)])
    assert not load_pretrained(model, tmp_path / "a.h5", layout="keras").left
    expected = source.get_weights()
    # The second layer was made last.
    for values, place in zip(model.get_weights(), [0, 1, 2, 5, 6, 3, 4], strict=True):
        np.testing.assert_array_equal(values, expected[place])


@pytest.mark.rare
def test_a_model_that_was_saved_as_hdf5_needs_no_rules(tmp_path):
    path = saved(source := changed(functional("float16")), tmp_path / "a.h5")
    model = functional("float16")
    assert not load_pretrained(model, path, layout="keras").left
    for weight, values in arrays(model).items():
        np.testing.assert_array_equal(values, arrays(source)[weight], weight)


def without_names(path):
    """Leave out what Keras writes since 3.4: the names of layers."""
    with h5py.File(path, "r+") as file:

        def clear(name, node):
            for key in list(node.attrs):
                if key == "name":
                    del node.attrs[key]

        file.visititems(clear)
        file["vars"].attrs.pop("name", None) if "vars" in file else None
    return path


@pytest.mark.parametrize("build", [functional, pytest.param(subclassed, marks=pytest.mark.rare)])
def test_a_file_whose_groups_have_no_names_is_loaded_by_path(build, tmp_path):
    source, model = build(), build()
    for weight in source.weights:
        weight.assign(RANDOM.normal(size=weight.shape))
    source.save_weights(tmp_path / "old.weights.h5")
    changes = load_pretrained(model, without_names(tmp_path / "old.weights.h5"))
    assert len(changes.left) == 0
    for one, other in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_a_file_whose_groups_have_no_names_is_loaded_by_groups(tmp_path):
    def build(*names):
        stack = [layers.Dense(3, name=name) for name in names]
        return keras.Sequential([keras.Input((3,)), *stack])

    source, model = build("a", "b"), build("first", "second")
    source.save_weights(tmp_path / "old.weights.h5")
    rules = {"first": "layers/dense_1", "second": "layers/dense"}
    load_pretrained(model, without_names(tmp_path / "old.weights.h5"), rules)
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), to_numpy(source.layers[1].kernel))
    np.testing.assert_array_equal(to_numpy(model.layers[1].kernel), to_numpy(source.layers[0].kernel))


def by_variables(model):
    """Return the arrays of a model by the paths that Keras gives its variables."""
    return {weight.path: to_numpy(weight).copy() for weight in model.weights}


def nested():
    """Return a functional model whose inner one does not stand in the paths of variables, and a shared layer."""
    inner_inputs = keras.Input((8,))
    inner = keras.Model(inner_inputs, layers.Dense(8)(layers.BatchNormalization()(inner_inputs)))
    shared = layers.Dense(8)
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(8)(shared(inner(shared(inputs)))))


BUILDS = {**MODELS, "nested": nested, "sequential": lambda: dense(None, "middle", None)}


def check_same(model, source):
    expected = arrays(source)
    for weight, values in arrays(model).items():
        np.testing.assert_array_equal(values, expected[weight], weight)


@pytest.mark.parametrize("name", everywhere(sorted(BUILDS.keys() - {"chosen"}), ["own"], others=[pytest.mark.rare]))
def test_paths_of_variables_name_weights_of_another_build(name):
    source = changed(BUILDS[name]())
    model = BUILDS[name]()
    report = audit(source, like=by_variables(source))
    assert [row.path for row in report.rows] == [weight.path for weight in Inventory(source).weights]
    assert not report.problems
    found = by_variables(source)
    assert audit(found, like=model).rows[0].path == Inventory(model).weights[0].path
    assert not load_pretrained(model, found, layout="keras").left
    check_same(model, source)


def test_paths_of_variables_begin_with_the_name_of_any_model():
    stack = [keras.Input((4,)), layers.Dense(4, name="first"), layers.Dense(4, name="second")]
    teacher, student = keras.Sequential(stack, name="teacher"), dense("first", "second")
    student.name = "student"
    found = by_variables(changed(teacher))
    assert all(name.startswith("teacher/") for name in found)
    assert not load_pretrained(student, found, layout="keras").left
    check_same(student, teacher)


def test_paths_of_variables_of_a_sequential_model_are_those_of_a_functional_one():
    inputs = keras.Input((4,))
    functional = keras.Model(inputs, layers.Dense(4, name="second")(layers.Dense(4, name="first")(inputs)))
    source = changed(dense("first", "second"))
    assert not load_pretrained(functional, by_variables(source), layout="keras").left
    check_same(functional, source)


def test_the_model_of_another_name_must_account_for_all_arrays():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(4, name="first")(inputs))
    found = {"encoder/first/kernel": np.ones((4, 4)), "encoder/other/kernel": np.ones((4, 4))}
    with pytest.raises(ValueError, match="no array has the name of a weight"):
        load_pretrained(model, found, layout="keras")


def test_paths_as_they_are_shown_come_first():
    model = keras.Model(inputs := keras.Input((4,)), layers.Dense(4)(layers.Dense(4)(inputs)))
    found = {f"dense{number}/kernel": np.ones((4, 4)) for number in ("_1", "")}
    report = load_pretrained(model, found, layout="keras")
    assert [row.path for row in report.rows if row.sources] == ["dense_1/kernel", "dense/kernel"]


def test_paths_of_variables_come_first_where_they_account_for_more():
    model, source = dense(None, None), changed(dense(None, None))
    names = [f"dense_{number}/{name}" for number in (1, 2) for name in ("kernel", "bias")]
    found = dict(zip(names, source.get_weights(), strict=True))
    assert not load_pretrained(model, found, layout="keras").left
    check_same(model, source)


def test_no_weight_is_guessed_where_variables_have_one_path():
    def inner(name):
        return keras.Model(inputs := keras.Input((4,)), layers.Dense(4, name="same")(inputs), name=name)

    model = keras.Model(inputs := keras.Input((4,)), inner("a")(inner("b")(inputs)))
    assert [weight.path for weight in model.weights] == ["same/kernel", "same/bias"] * 2
    with pytest.raises(ValueError, match="no array has the name of a weight"):
        load_pretrained(model, by_variables(model), layout="keras")


def trained(model):
    """Give a model an optimizer with variables."""
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


# A layer that saves under names of its own is not found in a file without names.
FILES = [("own", True), ("functional", True), ("functional", False)]
for name in sorted(BUILDS.keys() - {"own", "functional"}):
    FILES += [pytest.param(name, has_names, marks=pytest.mark.rare) for has_names in (True, False)]


@pytest.mark.rare
@pytest.mark.parametrize(("name", "has_names"), FILES)
def test_the_file_of_a_model_has_the_weights_that_are_audited(name, has_names, tmp_path):
    model = trained(changed(BUILDS[name]()))
    model.save_weights(path := tmp_path / "a.weights.h5")
    if not has_names:
        without_names(path)
    paths = [weight.path for weight in Inventory(model).weights]
    for report in (audit(model, like=path), audit(path, like=model)):
        assert [row.path for row in report.rows] == paths
        assert not report.problems


def test_a_weight_that_is_not_in_the_file_is_new_and_one_that_is_only_there_is_missing(tmp_path):
    dense("first", "second", "third").save_weights(tmp_path / "a.weights.h5")
    report = audit(dense("first", "fourth"), like=tmp_path / "a.weights.h5")
    verdicts = {row.path: row.status for row in report.problems}
    assert verdicts["fourth/kernel"] == verdicts["fourth/bias"] == "new"
    missing = [path for path, verdict in verdicts.items() if verdict == "missing"]
    assert missing == [f"layers/dense_{number}/vars/{key}" for number in (1, 2) for key in (0, 1)]


def test_where_only_names_differ_the_error_has_the_names_to_pass():
    source, model = dense("a", "b"), dense("c", "d")
    found = {weight.path: weight.value for weight in source.weights}
    with pytest.raises(ValueError, match="if their order is the same") as caught:
        load_pretrained(model, found, layout="keras")
    names = ast.literal_eval(re.search(r"names=(\{.*\})", str(caught.value))[1])
    assert not load_pretrained(model, found, names, layout="keras").left
    # If the order of the sizes differs, nobody knows which belong together.
    other = {"x/kernel": np.ones((4, 4)), "y/bias": np.ones(4), "x/bias": np.ones((4, 4)), "y/kernel": np.ones(4)}
    with pytest.raises(ValueError, match="perhaps only their names differ"):
        load_pretrained(model, other, layout="keras")
    del found[source.weights[0].path]
    with pytest.raises(ValueError, match=r"^(?s:(?!only their names).)*$"):
        load_pretrained(model, found, layout="keras")


@pytest.mark.parametrize("file", ["a.keras", "a.weights.h5", "a.h5"])
def test_variables_of_the_optimizer_are_no_weights(file, tmp_path):
    source = trained(changed(dense("first", "second")))
    changes = load_pretrained(dense("first", "second"), saved(source, tmp_path / file), layout="keras")
    assert not changes.left
    assert changes.unused == {}


def keras_2(path, layers_by_names, has_order=True):
    """Write the weights of layers as Keras 2 does, and return the path."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        for name, layer in layers_by_names.items():
            paths = [f"{name}/{weight.name}:0" for weight in layer.weights]
            for one, values in zip(paths, layer.get_weights(), strict=True):
                root[f"{name}/{one}"] = values
            root[name].attrs["weight_names"] = [one.encode() for one in paths]
        if has_order:
            root.attrs["layer_names"] = [name.encode() for name in layers_by_names]
    return path


@pytest.mark.parametrize("has_order", [True, False])
def test_twelve_layers_of_a_file_of_keras_2_are_loaded_in_order(has_order, tmp_path):
    source, model = (changed(dense(*[None] * 12)) for _ in range(2))
    names = ["dense", *(f"dense_{number}" for number in range(1, 12))]
    path = keras_2(tmp_path / "a.h5", dict(zip(names, source.layers, strict=True)), has_order)
    report = load_pretrained(model, path, layout="keras")
    for own, other in zip(model.layers, source.layers, strict=True):
        np.testing.assert_array_equal(to_numpy(own.kernel), to_numpy(other.kernel))
    expected = "" if has_order else "paired by number: the source has no order"
    assert {row.detail for row in report.rows} == {expected}


def test_it_is_said_where_attributes_are_paired_with_a_file_of_keras_2(tmp_path):
    source, model = changed(subclassed()), subclassed()
    names = ["dense_5", "dense_6", "dense_9", "dense_10"]
    dense_layers = [source.z_first, source.blocks[0], source.blocks[2], source.a_last]
    path = keras_2(tmp_path / "a.h5", dict(zip(names, dense_layers, strict=True)))
    report = load_pretrained(model, path, layout="keras")
    np.testing.assert_array_equal(to_numpy(model.z_first.kernel), to_numpy(source.z_first.kernel))
    assert report["dense/kernel"].detail == "paired by the order of attributes, which calls may not follow"


def test_names_may_have_those_of_a_file_of_keras_2_without_its_colon(tmp_path):
    source, model = changed(dense("a")), dense("b")
    path = keras_2(tmp_path / "a.h5", {"a": source.layers[0]})
    names = {"b/kernel": "a/kernel", "b/bias": "model_weights/a/a/bias"}
    assert not load_pretrained(model, path, names, layout="keras").left
    for own, other in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def stack():
    return keras.Sequential([keras.Input((3,)), layers.Dense(3), layers.Dense(3)])
