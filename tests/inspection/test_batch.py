"""What is passed as a batch: arrays, batches with targets and datasets give the same as `x` and `y` by themselves."""

import itertools
import random

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, everywhere, needs_keras, often

import keras_initx
from keras_initx import scaling
from keras_initx.inspection._batch import make_batch

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 16)
WEIGHTS = np.ones(16, "float32")
takes_none = needs_keras("3.13", "calls a model with `None` among its inputs")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(width=8):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(width, "relu", name="hidden")
    model = keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3, name="out")])
    model.compile("sgd", LOSS)
    return model


def monitored(x, y=None):
    monitor = keras_initx.SignalMonitor(x, y, every=2)
    network().fit(X, Y, batch_size=8, epochs=1, verbose=0, shuffle=False, callbacks=[monitor])
    return str(list(monitor.history.values()))


FUNCTIONS = {
    "diagnose": lambda *data: str(keras_initx.diagnose(network(), *data)),
    "lsuv": lambda *data: str(keras_initx.lsuv(network(), *data[:1], seed=0)),
    "SignalMonitor": monitored,
    "coordinate_check": lambda *data: str(scaling.coordinate_check(network, [4, 8], *data, steps=1)),
}


class Batches(keras.utils.PyDataset):
    """Has the batch, then others, and no end."""

    num_batches = None

    def __getitem__(self, index):
        return X * (index == 0), Y


def generated():
    yield X, Y
    raise AssertionError("a second batch was asked for")


def frames():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X).sample(frac=1, random_state=0).sort_index(), pandas.Series(Y)


def tensorflow_dataset():
    import tensorflow

    return tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(16).repeat()


def torch_loader(**options):
    import torch

    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(dataset, batch_size=16, **options)


FORMS = {
    "pair": lambda: ((X, Y),),
    "generator": lambda: (generated(),),
    "PyDataset": lambda: (Batches(),),
    "list of two": lambda: ([X, Y],),
    "nested lists": lambda: (X.tolist(), Y.tolist()),
    "pandas": frames,
    "tensors": lambda: ((keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),),
}
NATIVE = {"tensorflow": tensorflow_dataset, "torch": torch_loader}
if BACKEND in NATIVE:
    FORMS["dataset of the backend"] = lambda: (NATIVE[BACKEND](),)
ROWS = everywhere(FORMS, ["dataset of the backend"])


@pytest.fixture(scope="module")
def expected():
    return FUNCTIONS["diagnose"](X, Y)


@pytest.mark.parametrize("form", ROWS)
def test_every_form_gives_the_same(form, expected):
    assert FUNCTIONS["diagnose"](*FORMS[form]()) == expected


def two_inputs(*, by_name=False):
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    hidden = layers.Concatenate()([a, b])
    outputs = {"one": layers.Dense(3, name="one")(hidden), "two": layers.Dense(1, name="two")(hidden)}
    model = keras.Model({"a": a, "b": b} if by_name else [a, b], outputs)
    model.compile("sgd", {"one": LOSS, "two": "mse"})
    return model


class Subclassed(keras.Model):
    """Takes one array, or adds up several."""

    def __init__(self, *, build_on=None):
        super().__init__()
        self.dense = layers.Dense(3)
        self.compile("sgd", LOSS)
        if build_on is not None:
            self(build_on)

    def call(self, x):
        if isinstance(x, list | tuple):
            return self.dense(x[0]) + (0 if x[1] is None else self.dense(x[1]))
        return self.dense(x["a"] if isinstance(x, dict) else x)


B, TARGETS = X[:, :4], {"one": Y, "two": X[:, :1]}
MODELS = {
    "one input": network,
    "two inputs": two_inputs,
    "two by name": lambda: two_inputs(by_name=True),
    "subclassed": Subclassed,
    "subclassed, built for one": lambda: Subclassed(build_on=X),
    "subclassed, built for two": lambda: Subclassed(build_on=(X, X)),
    "subclassed, built without the second": lambda: Subclassed(build_on=[X, None]),
    "sequential without an input": lambda: keras.Sequential([layers.Dense(3)]),
}
# A model, what is passed, and what of it are inputs and targets.
DECISIONS = [
    ("one input", (X,), (X, None)),
    ("one input", ((X,), Y), (X, Y)),
    ("one input", ([X],), ([X], None)),
    ("one input", ((X, Y, WEIGHTS),), (X, Y)),
    ("two inputs", ([X, B],), ([X, B], None)),
    ("two inputs", (((X, B), TARGETS),), ((X, B), TARGETS)),
    ("two by name", (({"a": X, "b": B, "c": Y}, TARGETS, WEIGHTS),), ({"a": X, "b": B, "c": Y}, TARGETS)),
    ("subclassed", ([X, X],), ([X, X], None)),
    ("subclassed", ((X, X), Y), ((X, X), Y)),
    ("subclassed", (((X, X), Y),), ((X, X), Y)),
    ("subclassed", (({"a": X}, Y),), ({"a": X}, Y)),
    ("subclassed, built for one", ((X, Y),), (X, Y)),
    ("subclassed, built for two", ((X, X),), ((X, X), None)),
    pytest.param("subclassed, built without the second", (([X, None], Y),), ([X, None], Y), marks=takes_none),
    ("sequential without an input", ((X, Y),), (X, Y)),
]


@pytest.mark.parametrize(("name", "passed", "found"), DECISIONS)
def test_what_is_inputs_and_what_is_a_batch(name, passed, found):
    batch = make_batch(MODELS[name](), *passed)
    keras.tree.assert_same_structure((batch.x, batch.y), found)
    for array, other in zip(keras.tree.flatten((batch.x, batch.y)), keras.tree.flatten(found), strict=True):
        assert array is other


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow looks up strings")
def test_strings_come_beside_numbers():
    a, words = keras.Input((6,), name="a"), keras.Input((1,), dtype="string", name="words")
    encoded = layers.StringLookup(vocabulary=["cat", "dog"], output_mode="one_hot")(words)
    model = keras.Model({"a": a, "words": words}, layers.Dense(3)(layers.Concatenate()([a, encoded])))
    x = {"a": X, "words": np.array([["cat"], ["dog"]] * 8)}
    report = str(keras_initx.diagnose(model, x, Y, loss=LOSS))
    assert str(keras_initx.diagnose(model, {"a": X, "words": x["words"].tolist()}, Y, loss=LOSS)) == report
    assert keras_initx.lsuv(model, x).rows


def test_a_module_of_torch_takes_a_dataset_that_shuffles():
    import torch

    linear = layers.TorchModuleWrapper(torch.nn.Linear(6, 3))
    model = keras.Sequential([keras.Input((6,)), linear])
    before = torch.get_rng_state()
    generator = torch.Generator()
    sampler = torch.utils.data.RandomSampler(X, generator=generator)
    expected = keras_initx.diagnose(model, X, Y, loss=LOSS).rows[0].gradient.norm
    for options in ({"shuffle": True}, {"shuffle": True, "generator": generator}, {"sampler": sampler}):
        report = keras_initx.diagnose(model, torch_loader(**options), loss=LOSS)
        assert report.rows[0].gradient.norm == pytest.approx(expected, rel=1e-5)  # all examples, in another order
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generator.get_state(), torch.Generator().get_state())


@pytest.mark.parametrize("name", often(FUNCTIONS, [*FUNCTIONS][::2]))
def test_of_a_dataset_one_batch_is_read_and_random_numbers_stay(name):
    read = []

    def batches():
        for index in itertools.count():
            read.append((random.random(), np.random.normal()))  # noqa: NPY002
            yield X * (index == 0), Y

    expected = FUNCTIONS[name](X, Y)
    assert FUNCTIONS[name](batches()) == expected
    assert len(read) == 1
    model = network()
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    make_batch(model, batches())
    assert (random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]) == before  # noqa: NPY002


def test_a_refused_call_reads_no_batch():
    batches = iter([(X, Y)])
    for refused in (
        lambda: keras_initx.diagnose(network(), batches, ignore=["vanish"]),
        lambda: keras_initx.diagnose(network(), batches, Y),
        lambda: keras_initx.SignalMonitor(batches, every=0),
        lambda: keras_initx.lsuv(network(), batches, batch_size=0),
        lambda: scaling.coordinate_check(network, [8], batches),
    ):
        with pytest.raises(ValueError, match="Received: "):
            refused()
    assert len(list(batches)) == 1


def test_sample_weights_are_ignored_or_count():
    with pytest.warns(UserWarning, match="sample weights are ignored"):
        keras_initx.diagnose(network(), (X, Y, WEIGHTS))
    with pytest.warns(UserWarning, match="sample weights are ignored") as warned:
        monitored((X, Y, WEIGHTS))
    assert sum("sample weights" in str(one.message) for one in warned) == 1
    check = scaling.coordinate_check(network, [4, 8], (X, Y, 0 * WEIGHTS), steps=1)
    np.testing.assert_array_equal(check.sizes[0], check.sizes[1])


def test_columns_of_pandas_may_have_types_of_its_own():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"count": pandas.array([1, None], "Int64"), "size": [0.5, 1.5], "flag": [True, False]})
    x, y = make_batch(Subclassed(), frame, pandas.Series([1, 0]))[:2]
    np.testing.assert_array_equal(x.astype("float64"), [[1, 0.5, 1], [np.nan, 1.5, 0]])
    np.testing.assert_array_equal(y, [[1], [0]])


def test_a_column_without_numbers_is_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X).assign(other="text")
    refused(TypeError, "encode other columns.* Received: x with the column 'other'", frame)


@pytest.mark.parametrize("config", [None, {"input_shape": "6"}], ids=["none", "text"])
def test_a_config_of_a_user_tells_no_number_of_inputs(config):
    model = Subclassed(build_on=X)
    model.get_build_config = lambda: config
    assert make_batch(model, X, Y) == (X, Y, None)
    assert make_batch(model, [X], Y) == ([X], Y, None)


def refused(error, message, *passed, model="one input"):
    with pytest.raises(error, match=message) as caught:
        keras_initx.diagnose(MODELS[model](), *passed)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ((iter([(X, Y)]), Y), "`y` must be left out if `x` is a dataset.*Received: x of type list_iterator, and y"),
        ((iter([]),), "`x` must have at least one batch. Received: x of type list_iterator with none"),
        ((iter([(X, Y, Y, Y)]),), r"`x` must have batches .*`\(x, y\)`.* with 4 members"),
        ((iter([(X[0], 1)]),), r"not single examples: batch it, .*`dataset.batch\(32\)`.*shapes \[\(6,\), \(\)\]"),
        ((iter(X),), r"Pass one example as `x\[None\]`, examples as `dataset.batch\(32\)`. .* of shape \(6,\)"),
        (((X, Y), Y), r"`y` must be left out if `x` is a batch `\(x, y\)`"),
        (((X, Y, Y, Y),), r"`x` must have 1 arrays, .* or be a batch `\(x, y\)`. Received: x with 4 arrays"),
        (
            (Y, X),
            r"`x` must have the shape .*`y` has this shape: pass `x` before `y`. Received: x of shape \(16,\)",
        ),
        ((X[:, :4],), r"`x` must have the shape \(None, 6\), as the model's inputs. Received: x of shape \(16, 4\)"),
        (({"x": X},), r"`x` must have the keys .* Received: x without \['"),
    ],
)
def test_what_is_no_batch_is_refused(passed, message):
    refused(ValueError, message, *passed)


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ((X, np.array(["cat", "dog"] * 8)), r"`y` must hold numbers: encode the labels, .*`numpy.unique"),
        ((X.astype("U32"),), "`x` must hold numbers, as the model's inputs"),
        (([[1.0, 2.0], [3.0]],), "in one array of one shape"),
        ((np.load,), "`x` must be an array, a list or dict of arrays, or a dataset of batches"),
    ],
)
def test_what_are_no_numbers_is_refused(passed, message):
    refused((TypeError, ValueError), message, *passed)


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ((X,), "`x` must have 2 arrays, as many as the model has inputs.*Received: x with 1 arrays"),
        (([X, X],), r"`x` must have the shape \(None, 4\), as the model's input 'b'. Received: x of shape \(16, 6\)"),
        (({"a": X, "c": B},), r"`x` must have the keys \['a', 'b'\].*Received: x without \['b'\]"),
    ],
)
def test_what_does_not_fit_to_several_inputs_is_refused(passed, message):
    refused(ValueError, message, *passed, model="two inputs")


def test_a_tuple_for_a_model_of_unknown_inputs_is_refused():
    refused(
        ValueError, "`x` must be the inputs alone.* Received: x with a tuple of 2 arrays", (X, Y), model="subclassed"
    )


@pytest.mark.parametrize(("name", "value"), [("lsuv", np.nan), ("coordinate_check", np.inf)])
def test_inputs_that_are_not_finite_are_refused(name, value):
    x = X.copy()
    x[3, 2] = value
    message = r"`x` must be finite: .*`numpy.nan_to_num\(x\)`.*the inputs are not finite, 1 of 96 values"
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](x, Y)


def test_targets_are_required_to_train():
    with pytest.raises(ValueError, match="`y` is required, by itself or in the batches of `x`"):
        scaling.coordinate_check(network, [4, 8], X)
