"""Studies take the data that `fit` takes, and refuse what would be cut or mixed up."""

import keras
import ml_dtypes
import numpy as np
import pandas
import pytest
import scipy.sparse
from networks import build, build_he, data, timeless

from keras_initx import compare_initializers, random_restarts
from keras_initx.initializers._seeds import derived_seed
from keras_initx.tools.studies._data import checked_data, data_digest, select_examples

COLUMNS = [f"x{i}" for i in range(6)]


def frames():
    """Return the data as shuffled frames of pandas, in which labels of rows are not their positions."""
    for seed, (x, y) in enumerate(data()):
        yield pandas.DataFrame(x, columns=COLUMNS).assign(label=y).sample(frac=1, random_state=seed)


@pytest.fixture(scope="module")
def records():
    arrays = tuple((frame[COLUMNS].to_numpy(), frame[["label"]].to_numpy()) for frame in frames())
    return timeless(compare_initializers(build, ["he_normal"], arrays, repeats=1, epochs=2).rows)


def test_shuffled_frames_train_as_their_arrays(records):
    of_pandas = tuple((frame[COLUMNS], frame["label"]) for frame in frames())
    study = compare_initializers(build, ["he_normal"], of_pandas, repeats=1, epochs=2)
    for record, other in zip(timeless(study.rows), records, strict=True):
        assert record == pytest.approx(other, abs=1e-6)


def build_of_two(initializer):
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer=initializer)(joined))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def test_structures_of_inputs_are_trained():
    pairs = tuple(
        ({"left": frame[COLUMNS[:3]], "right": keras.ops.array(frame[COLUMNS[3:]].to_numpy())}, frame["label"])
        for frame in frames()
    )
    study = compare_initializers(build_of_two, ["he_normal"], pairs, repeats=1, epochs=2)
    losses = [epoch["val_loss"] for epoch in study.trials["he_normal", 1]["epochs"]]
    assert losses[0] > losses[1] > losses[2]


def test_weights_count_in_training_and_in_evaluation():
    (x, y), (x_val, y_val) = data()
    weighted = (x, y, np.zeros(len(x))), (x_val, y_val, np.full(len(x_val), 2.0))
    before, after = compare_initializers(build, ["he_normal"], weighted, repeats=1, epochs=1).trials["he_normal", 1][
        "epochs"
    ]
    plain = compare_initializers(build, ["he_normal"], data(), repeats=1, epochs=1).trials["he_normal", 1]["epochs"][0]
    assert before["val_loss"] == pytest.approx(2 * plain["val_loss"], rel=1e-4)
    assert after["val_loss"] == pytest.approx(before["val_loss"])


def build_without_targets():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2), keras.layers.ActivityRegularization(l2=0.1)])
    model.compile(keras.optimizers.SGD(0.001), run_eagerly=True)  # Keras 3.10 does not divide the penalty by the batch
    return model


def test_a_model_without_targets_is_trained():
    (x, _), (x_val, _) = data()
    study = random_restarts(build_without_targets, ((x, None), (x_val, None)), draws=1, epochs=1, checks=0)
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
    part = {"a": [np.zeros((4, 1)), pandas.Series(range(4))], "b": (keras.ops.zeros((4, 2)),)}, np.zeros(4)
    (x, y), validation = checked_data((part, part))
    assert [array.shape for array in (*x["a"], x["b"][0], y)] == [(4, 1), (4, 1), (4, 2), (4,)]
    assert data_digest((x, y)) == data_digest(validation)


def test_digests_tell_structures_apart():
    x, y = np.zeros((4, 2)), np.zeros((4, 2))
    others = ([x, y],), (x, y + 1), (x + 1, y), (x.reshape(2, 4), y), (x.view("int64"), y), (x,)
    assert len({data_digest(value) for value in ((x, y), *others)}) == 7
    assert data_digest([x, [y]]) == data_digest((x, (y,)))
    assert data_digest({"a": x, "b": y}) != data_digest({"b": y, "a": x})  # which `call` may unpack
    every_other = np.arange(24.0).reshape(4, 6)[:, ::2]
    assert data_digest(every_other) == data_digest(every_other.copy()) != data_digest(every_other[::-1])


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ((np.zeros((4, 2)), [0, 1, 2]), ValueError, "must have the same number of examples"),
        ((np.full((4, 2), 1j), np.zeros(4)), TypeError, "must hold real numbers"),
        ((np.array([["a"], ["b"]]), np.zeros(2)), TypeError, "must hold numbers. Received: dtype <U1"),
        ((scipy.sparse.eye(4).tocsr(), np.zeros(4)), TypeError, "must be an array"),
        ((np.zeros((0, 2)), np.zeros(0)), ValueError, "at least one example"),
        ((np.zeros((4, 2)), np.zeros(4), np.zeros(3)), ValueError, "must have the same number of examples"),
        (
            (np.zeros((4, 2)), {"a": np.zeros(4), "b": None}),
            ValueError,
            "each output must have targets: give outputs without",
        ),
        ((np.zeros((4, 2)), None, np.zeros(4)), ValueError, "sample weights need targets"),
        ((np.zeros((4, 2)), np.zeros(4), {0: 1.0, 1: 2.0}), TypeError, "class weights must be sample weights: .* in y"),
        ((iter([data()[0]]), None), TypeError, "of a data set, join the batches, as by `x, y = "),
    ],
    ids=[
        *("lengths", "complex", "texts", "sparse", "empty", "weights"),
        *("none", "only weights", "class weights", "generator"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_anything_is_written(tmp_path, part, error, message):
    with pytest.raises(error, match=f"`data` must be two pairs of arrays.*training data.*{message}"):
        compare_initializers(build, ["zeros"], (part, data()[1]), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class Batches(keras.utils.PyDataset):
    """A data set of batches."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return data()[index]


def test_data_sets_are_refused_with_the_way_out():
    message = r"each trial orders the examples by itself: of a data set, join the batches, as by `x, y = map\("
    with pytest.raises(TypeError, match=rf"{message}.* Received: training data of type"):
        random_restarts(build_he, (Batches(), Batches()))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((2, 2, 3)), TypeError, "Received: data of type ndarray"),
        (data()[:1], TypeError, "Received: data of type tuple"),
        ((data()[0], ([], [], [], [])), ValueError, "Received: validation data with 4 members"),
    ],
    ids=["array", "one part", "four members"],
)
def test_data_are_two_pairs(given, error, message):
    with pytest.raises(error, match=rf"`data` must be two pairs .*{message}"):
        compare_initializers(build, ["zeros"], given)


def build_of_several(inputs, outputs):
    """Return a function that builds a model whose data have the structures `inputs` and `outputs`."""

    def build(initializer):
        ends = {name: keras.Input((3,), name=name) for name in ("left", "right")}
        joined = keras.layers.Concatenate()([ends["left"], ends["right"]])
        heads = {name: keras.layers.Dense(3, "softmax", name=name)(joined) for name in ("first", "second")}
        model = keras.Model(inputs(ends), outputs(heads))
        losses = dict.fromkeys(heads, "sparse_categorical_crossentropy")
        model.compile(keras.optimizers.SGD(0.1), outputs(losses), run_eagerly=True)
        return model

    return build


def in_list(values):
    return list(values.values())


def test_a_batch_of_fixed_size_is_that_of_the_evaluation():
    def fixed(initializer):
        model = keras.Sequential([keras.Input(batch_shape=(16, 6)), keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    study = compare_initializers(fixed, ["he_normal"], data(), repeats=1, epochs=1, batch_size=16)
    assert study.trials["he_normal", 1]["status"] == "finished"


@pytest.mark.rare
@pytest.mark.parametrize(
    ("inputs", "outputs", "weighted"), [(dict, in_list, True), (in_list, dict, False)], ids=["weights", "no weights"]
)
def test_any_structure_is_trained_as_by_fit(inputs, outputs, weighted):
    def part(x, y):
        weights = (np.linspace(0, 1, len(y), dtype="float32"),) if weighted else ()
        return inputs({"left": x[:, :3], "right": x[:, 3:]}), outputs({"first": y, "second": (y + 1) % 3}), *weights

    study_data = checked_data(tuple(part(*own) for own in data()))
    make = build_of_several(inputs, outputs)
    built = []

    def build_noted(initializer):
        built.append(make(initializer))
        weights.append(built[-1].get_weights())
        return built[-1]

    weights = []
    study = compare_initializers(build_noted, ["zeros"], study_data, repeats=1, epochs=2)
    other = make(None)
    other.set_weights(weights[0])
    order_seed = derived_seed(derived_seed(0, "repeat", 1), "train")
    for epoch in (1, 2):
        order = np.random.default_rng(derived_seed(order_seed, epoch)).permutation(len(data()[0][0]))
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(select_examples(study_data[0], order))
        other.fit(x, y, 32, sample_weight=sample_weight, shuffle=False, verbose=0)
        losses = other.evaluate(*study_data[1][:2], sample_weight=(study_data[1][2:] or (None,))[0], verbose=0)
        found = study.trials["zeros", 1]["epochs"][epoch]["val_loss"]
        assert found == pytest.approx(losses[0] if isinstance(losses, list) else losses)
