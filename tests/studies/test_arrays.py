"""Studies take the data that `fit` takes, and refuse what would be cut or mixed up."""

import keras
import ml_dtypes
import numpy as np
import pandas
import pytest
import scipy.sparse
from modes import needs_keras
from networks import build, build_he, data, timeless

from keras_initx.studies import _trial, compare_initializers, random_restarts
from keras_initx.studies._data import checked_data, data_digest, select_examples

COLUMNS = [f"x{i}" for i in range(6)]


def frames():
    """Return the data as shuffled frames of pandas, in which labels of rows are not their positions."""
    for seed, (x, y) in enumerate(data()):
        yield pandas.DataFrame(x, columns=COLUMNS).assign(label=y).sample(frac=1, random_state=seed)


@pytest.fixture(scope="module")
def records():
    arrays = tuple((frame[COLUMNS].to_numpy(), frame[["label"]].to_numpy()) for frame in frames())
    return timeless(compare_initializers(build, ["he_normal"], arrays, repeats=1, epochs=2).records)


@pytest.mark.once
@pytest.mark.parametrize("inputs", [lambda frame: frame.to_numpy(), lambda frame: frame], ids=["array", "frame"])
def test_shuffled_frames_train_as_their_arrays(records, inputs):
    of_pandas = tuple((inputs(frame[COLUMNS]), frame["label"]) for frame in frames())
    study = compare_initializers(build, ["he_normal"], of_pandas, repeats=1, epochs=2)
    for record, other in zip(timeless(study.records), records, strict=True):
        assert record == pytest.approx(other, abs=1e-6)


def build_of_two(initializer):
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer=initializer)(joined))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    return model


@pytest.mark.once
def test_structures_of_inputs_are_trained():
    pairs = tuple(
        ({"left": frame[COLUMNS[:3]], "right": keras.ops.array(frame[COLUMNS[3:]].to_numpy())}, frame["label"])
        for frame in frames()
    )
    study = compare_initializers(build_of_two, ["he_normal"], pairs, repeats=1, epochs=2)
    losses = [epoch["val_loss"] for epoch in study.trials["he_normal", 1].epochs]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.once
def test_weights_count_in_training_and_in_evaluation():
    (x, y), (x_val, y_val) = data()
    weighted = (x, y, np.zeros(len(x))), (x_val, y_val, np.full(len(x_val), 2.0))
    before, after = (
        compare_initializers(build, ["he_normal"], weighted, repeats=1, epochs=1).trials["he_normal", 1].epochs
    )
    plain = compare_initializers(build, ["he_normal"], data(), repeats=1, epochs=1).trials["he_normal", 1].epochs[0]
    assert before["val_loss"] == pytest.approx(2 * plain["val_loss"], rel=1e-4)
    assert after["val_loss"] == pytest.approx(before["val_loss"])


def build_without_targets():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2), keras.layers.ActivityRegularization(l2=0.1)])
    model.compile(keras.optimizers.SGD(0.001), run_eagerly=True)  # Keras 3.10 does not divide the penalty by the batch
    return model


@pytest.mark.once
def test_a_model_without_targets_is_trained():
    (x, _), (x_val, _) = data()
    study = random_restarts(build_without_targets, ((x, None), (x_val, None)), n=1, epochs=1, checks=0)
    assert study.draws[0]["epochs"][1]["val_loss"] < study.draws[0]["epochs"][0]["val_loss"]


def as_array(value):
    (x, _), _ = checked_data(((value, np.zeros(len(value))), (np.zeros(1), np.zeros(1))))
    return x


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pandas.Series([3, 1], index=[1, 0]), [[3], [1]]),
        (pandas.Series([3, None], dtype="Int64"), [[3], [np.nan]]),
        (pandas.Series([True, False], dtype="boolean"), [[True], [False]]),
        (pandas.Series([7, 5]).astype("category"), [[7], [5]]),
        (pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": pandas.Series([3, 4], dtype="Int8")}), None),
        (pandas.DataFrame([[1, 2], [3, 4]], columns=["twice", "twice"]), [[1, 2], [3, 4]]),
        (np.array([0.5, 2.0], ml_dtypes.bfloat16), [0.5, 2.0]),
        (keras.ops.array([[0.5], [2.0]], "bfloat16"), [[0.5], [2.0]]),
        (keras.ops.array([1, 2], "int32"), [1, 2]),
    ],
    ids=["series", "missing", "boolean", "category", "mixed", "one name", "bfloat16", "tensor", "integers"],
)
def test_what_becomes_of_data(value, expected):
    array = as_array(value)
    assert type(array) is np.ndarray
    assert data_digest(array) == data_digest(array.copy())
    np.testing.assert_array_equal(array, [[1, 0.5, 3], [2, 1.5, 4]] if expected is None else expected)


def test_structures_keep_their_form():
    part = {"a": [np.zeros((4, 1)), pandas.Series(range(4))], "b": (None, keras.ops.zeros((4, 2)))}, np.zeros(4)
    (x, y), validation = checked_data((part, part))
    assert [array.shape for array in (*x["a"], x["b"][1], y)] == [(4, 1), (4, 1), (4, 2), (4,)]
    assert x["b"][0] is None
    assert data_digest((x, y)) == data_digest(validation)


def test_digests_tell_structures_apart():
    x, y = np.zeros((4, 2)), np.zeros((4, 2))
    others = ([x, y],), (x, y + 1), (x + 1, y), (x.reshape(2, 4), y), (x.view("int64"), y), (x, None), (x, y, None)
    assert len({data_digest(value) for value in ((x, y), *others)}) == 8
    assert data_digest([x, [y]]) == data_digest((x, (y,)))
    assert data_digest({"a": x, "b": y}) != data_digest({"b": y, "a": x})  # which `call` may unpack
    every_other = np.arange(24.0).reshape(4, 6)[:, ::2]
    assert data_digest(every_other) == data_digest(every_other.copy()) != data_digest(every_other[::-1])


@pytest.mark.parametrize(
    ("value", "received"),
    [
        ([0, 1, 2, 0], "convert lists of numbers to arrays. Received: y with int"),
        ((i for i in range(4)), "must hold arrays, tensors, .* Received: y with generator"),
        (scipy.sparse.eye(4).tocsr(), "Received: y with csr_(matrix|array)"),
        (np.array(["a", "b", "c", "d"]), "must hold numbers. Received: y of dtype <U1"),
        (
            pandas.Series(list("abcd"), name="animal"),
            "must hold numbers. Received: y, column 'animal', of dtype object",
        ),
        (pandas.DataFrame({"size": range(4), "animal": list("abcd")}), "Received: y, column 'animal', of dtype object"),
        (pandas.Series(list("abca"), name="animal", dtype="category"), "Received: y, column 'animal', of dtype object"),
        (np.full(4, 1j), "must hold real numbers: split complex ones .* Received: y of dtype complex128"),
        (keras.ops.cast(np.ones(4), "complex64"), "must hold real numbers: .* Received: y of dtype complex64"),
        (
            pandas.Series([1j] * 4, name="wave"),
            "must hold real numbers: .* Received: y, column 'wave', of dtype complex",
        ),
    ],
    ids=[
        *("numbers", "generator", "sparse", "strings", "series", "column", "category"),
        *("complex", "complex tensor", "complex column"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(value, received):
    with pytest.raises(TypeError, match=received):
        checked_data(((np.zeros((4, 2)), value), data()[1]))


def test_masked_values_are_refused():
    masked = np.ma.masked_less(np.arange(4), 2)
    with pytest.raises(ValueError, match=r"must not have masked values: .* Received: y with 2 masked values"):
        checked_data(((np.zeros((4, 2)), masked), data()[1]))
    np.testing.assert_array_equal(as_array(np.ma.masked_less(np.arange(4), 0)), np.arange(4))


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_values_that_overflow_are_refused(monkeypatch, floatx):
    monkeypatch.setattr(keras.config, "floatx", lambda: floatx)
    large = np.array([1.0, np.inf, np.nan, -1e5 if floatx == "float16" else -1e39])
    message = rf"must hold numbers that {floatx} can represent. Received: x with a value of 1e\+"
    with pytest.raises(ValueError, match=message):
        as_array(large)
    assert as_array(large[:3]).dtype == floatx
    with pytest.raises(ValueError, match=message.replace("x with", "x, column 'a', with")):
        as_array(pandas.DataFrame({"a": large}))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((2, 2, 3)), TypeError, r"`data` must be two pairs, .* Received: data of type ndarray"),
        ((np.zeros((4, 3)), np.zeros(4)), TypeError, "`data` must be two pairs, .* with a part of type ndarray"),
        (data()[:1], ValueError, r"`data` must be two pairs, .* Received: data of 1 parts, with \[2\] members"),
        ((data()[0], ([], [], [], [])), ValueError, r"Received: data of 2 parts, with \[2, 4\] members"),
    ],
    ids=["array", "one pair", "one part", "four members"],
)
def test_data_are_two_pairs(given, error, message):
    with pytest.raises(error, match=message):
        compare_initializers(build, ["zeros"], given)


X, Y = np.zeros((6, 3)), np.zeros(6)


@pytest.mark.parametrize(
    ("part", "lengths"),
    [
        ((X[:5], Y), "x of length 5, y of length 6"),
        ((X, Y[:5]), "x of length 6, y of length 5"),
        (([X, X[:4]], Y), "x of length 6 and 4, y of length 6"),
        ((X, {"a": Y, "b": Y[:2]}), "x of length 6, y of length 6 and 2"),
        ((X, Y, Y[:3]), "x of length 6, y of length 6, sample_weight of length 3"),
        ((X[:0], Y[:0]), "x of length 0, y of length 0"),
        (({}, Y), "x of length 0, y of length 6"),
    ],
    ids=["inputs", "targets", "one input", "one target", "weights", "empty", "no input"],
)
def test_lengths_that_differ_are_refused_before_anything_is_written(tmp_path, part, lengths):
    good = data()[1]
    with pytest.raises(ValueError, match=rf"`data` must have at least one example, .* Received: {lengths}$"):
        compare_initializers(build, ["zeros"], (part, good), out=tmp_path / "out")
    of_validation = lengths.replace("x ", "x_val ").replace("y ", "y_val ").replace("weight ", "weight_val ")
    with pytest.raises(ValueError, match=f"Received: {of_validation}$"):
        random_restarts(build_he, (good, part), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def build_of_several(inputs, outputs):
    """Return a function that builds a model whose data have the structures `inputs` and `outputs`."""

    def build(initializer):
        ends = {name: keras.Input((3,), name=name) for name in ("left", "right")}
        joined = keras.layers.Concatenate()([ends["left"], ends["right"]])
        heads = {name: keras.layers.Dense(3, "softmax", name=name)(joined) for name in ("first", "second")}
        model = keras.Model(inputs(ends), in_list(heads) if outputs is first_of_list else outputs(heads))
        losses = dict.fromkeys(heads, "sparse_categorical_crossentropy")
        model.compile(keras.optimizers.SGD(0.1), outputs(losses), run_eagerly=True)
        return model

    return build


def in_list(values):
    return list(values.values())


def first_of_list(values):
    """Return a list without targets for the second output, which then needs no loss."""
    return [values["first"], None]


class Pair(keras.Model):
    """Notes in what its inputs come."""

    def __init__(self):
        super().__init__()
        self.dense, self.kinds, self.sizes = keras.layers.Dense(3, "softmax"), set(), set()

    def call(self, inputs):
        self.kinds.add(type(inputs))
        self.sizes.add(len(inputs[0]))
        return self.dense(inputs[0] + inputs[1])


@pytest.mark.once
def test_a_list_of_inputs_is_passed_on_as_by_fit():
    def pair():
        model = Pair()
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    x, y = data()[0]
    model, other = pair(), pair()
    part = [x, x], y
    _trial.train(model, checked_data((part, part)), range(1, 2), 8, 5, lambda metrics: None)
    other.fit([x, x], y, verbose=0)
    assert model.kinds == other.kinds
    assert max(model.sizes) == 4 * 8  # in the evaluation, which keeps nothing for gradients


@pytest.mark.once
def test_a_batch_of_fixed_size_is_that_of_the_evaluation():
    def fixed(initializer):
        model = keras.Sequential([keras.Input(batch_shape=(16, 6)), keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    study = compare_initializers(fixed, ["he_normal"], data(), repeats=1, epochs=1, batch_size=16)
    assert study.trials["he_normal", 1].status == "finished"


TAKES_NONE = needs_keras("3.15", "takes `None` in a structure")


@pytest.mark.parametrize("inputs", [dict, pytest.param(in_list, marks=pytest.mark.once)])
@pytest.mark.parametrize(
    "outputs", [dict, pytest.param(in_list, marks=pytest.mark.once), pytest.param(first_of_list, marks=TAKES_NONE)]
)
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.once), True], ids=["", "weights"])
@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # for an output without a loss
def test_any_structure_is_trained_as_by_fit(inputs, outputs, weighted):
    def part(x, y):
        weights = (np.linspace(0, 1, len(y), dtype="float32"),) if weighted else ()
        return inputs({"left": x[:, :3], "right": x[:, 3:]}), outputs({"first": y, "second": (y + 1) % 3}), *weights

    study_data = checked_data(tuple(part(*own) for own in data()))
    build = build_of_several(inputs, outputs)
    model, other = build(None), build(None)
    other.set_weights(model.get_weights())
    found = []
    _trial.train(model, study_data, range(1, 3), 32, 5, found.append)
    for epoch in (1, 2):
        order = _trial._order(study_data[0], epoch, 5)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(select_examples(study_data[0], order))
        other.fit(x, y, 32, sample_weight=weights, shuffle=False, verbose=0)
        losses = other.evaluate(*study_data[1][:2], sample_weight=(study_data[1][2:] or (None,))[0], verbose=0)
        assert found[epoch - 1]["val_loss"] == pytest.approx(losses[0] if isinstance(losses, list) else losses)
