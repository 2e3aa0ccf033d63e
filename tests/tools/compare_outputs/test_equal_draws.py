"""What Keras draws is the same in each run, whatever the order, and nothing else has changed."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import everywhere, to_numpy

import keras_initx
from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._equal_draws import equal_draws


@pytest.mark.every_backend
def test_draws_follow_from_the_shape():
    with equal_draws():
        first = to_numpy(keras.random.normal((3,)))
        keras.random.uniform((5,), seed=3)
        assert np.array_equal(first, to_numpy(keras.random.normal((3,))))
        np.testing.assert_allclose(first, [-1.9539592, -0.17342581, 1.1281362], rtol=1e-6)
        assert to_numpy(keras.random.randint((5,), 0, 7)).tolist() == [2, 4, 2, 5, 2]
        assert abs(to_numpy(keras.random.truncated_normal((100,), 1.0, 0.5)) - 1).max() <= 1
        scaled = to_numpy(keras.random.uniform((100,), 2, 4))
        assert 2 < scaled.min() < 2.2
        assert 3.8 < scaled.max() < 4


def test_dropout_is_on_and_the_same():
    x = np.ones((50, 40), "float32")
    with equal_draws():
        one = to_numpy(layers.Dropout(0.25)(x, training=True))
        next_one = to_numpy(layers.Dropout(0.25)(x, training=True))
    with equal_draws():
        other = to_numpy(layers.Dropout(0.25, seed=7)(x, training=True))
        by_axis = to_numpy(layers.SpatialDropout1D(0.5)(x[:, :, None], training=True))
        assert not to_numpy(keras.random.dropout(x, 1.0)).any()
    assert np.array_equal(one, other)
    assert not np.array_equal(one, next_one)
    assert abs((one == 0).mean() - 0.25) < 0.05
    assert set(np.unique(one)) == {np.float32(0), np.float32(1 / 0.75)}
    assert by_axis.shape == (50, 40, 1)


def test_a_cell_of_an_rnn_draws_the_same():
    cell = layers.LSTMCell(8, dropout=0.5, recurrent_dropout=0.3)
    rnn = layers.RNN(cell)
    x = np.ones((4, 6, 3), "float32")
    with equal_draws():
        assert np.array_equal(to_numpy(rnn(x, training=True)), to_numpy(rnn(x, training=True)))


def test_draws_are_random_again_afterward():
    before = keras.random.normal
    with pytest.raises(RuntimeError), equal_draws():
        raise RuntimeError
    assert keras.random.normal is before
    generator = keras.random.SeedGenerator(0)
    draws = [to_numpy(keras.random.normal((3,), seed=generator)) for _ in range(2)]
    assert not np.array_equal(*draws)
    assert not np.array_equal(draws[0], ops.convert_to_numpy(layers.GaussianNoise(1.0)(np.zeros(3), training=True)))


FUNCTIONS = {
    "gamma": lambda shape, seed: keras.random.gamma(shape, 2.0, seed=seed),
    "beta": lambda shape, seed: keras.random.beta(shape, 2.0, 3.0, seed=seed),
    "binomial": lambda shape, seed: keras.random.binomial(shape, 9, 0.5, seed=seed),
    "categorical": lambda shape, seed: keras.random.categorical(np.zeros(shape, "float32"), shape[1], seed=seed),
    "shuffle": lambda shape, seed: keras.random.shuffle(np.arange(shape[0], dtype="float32"), seed=seed)[:, None],
    "normal with an integer seed": lambda shape, seed: keras.random.normal(shape, seed=3),
    "normal": lambda shape, seed: keras.random.normal(shape, seed=seed),
}


class Drawing(layers.Layer):
    """Adds what a function draws, in training or always."""

    def __init__(self, function, *, is_always=False, count=1):
        super().__init__(name="draw")
        self.function, self.is_always, self.count = function, is_always, count
        self.seed = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if training or self.is_always:
            for _ in range(self.count):
                x = x + ops.cast(self.function(tuple(x.shape), self.seed), x.dtype)
        return x

    def compute_output_spec(self, x, training=False):
        return keras.KerasTensor(x.shape, x.dtype)


def finished(inputs, outputs):
    head = layers.Dense(3, kernel_initializer=keras_initx.GlorotUniform(seed=1), name="head")
    model = keras.Model(inputs, head(outputs), name="net")
    model.compile("sgd", "mse")
    return model


def drawing(function, **kwargs):
    inputs = keras.Input((5,))
    return finished(inputs, Drawing(function, **kwargs)(inputs))


X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")


@pytest.mark.release_backends
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_functions_draw_the_same_again(name):
    recorded = record_outputs(drawing(FUNCTIONS[name]), X, Y)
    assert compare_outputs(drawing(FUNCTIONS[name]), X, recorded, y=Y).step.ok
    # On another backend most draw other numbers.
    recorded.backend = "another"
    report = compare_outputs(drawing(FUNCTIONS[name]), X, recorded, y=Y)
    obstacle = "" if name == "normal" else f"`keras.random.{name.split()[0]}`"
    assert report.step.obstacle.startswith(obstacle)
    assert bool(report.step.obstacle) == bool(obstacle)


@pytest.mark.parametrize("name", everywhere(["gamma", "normal"], ["normal"], others=[pytest.mark.release_backends]))
def test_a_model_that_draws_in_inference_is_compared(name, tmp_path):
    def build():
        return drawing(FUNCTIONS[name], is_always=True)

    recorded = record_outputs(build(), X)
    recorded.save(tmp_path / "outputs.npz")
    assert compare_outputs(build(), X, tmp_path / "outputs.npz").ok
    recorded.backend = "another"
    report = compare_outputs(build(), X, recorded)
    assert report.first is None
    assert report.ok == (name == "normal")
    if name == "gamma":
        recorded.calls[0].outputs[""].own_values[:] += 1  # the numbers of another backend
        report = compare_outputs(build(), X, recorded)
        assert report.first is None
        assert {row.answer for row in report.rows} == {"not known"}
        assert "random: `keras.random.gamma` draws other numbers on each backend" in report.summary


def test_what_is_random_by_other_means_is_no_fault_of_a_layer():
    def noise(shape, seed):
        return np.random.normal(size=shape).astype("float32")  # noqa: NPY002, of a user

    recorded = record_outputs(drawing(noise, is_always=True), X)
    np.random.normal()  # noqa: NPY002
    report = compare_outputs(drawing(noise, is_always=True), X, recorded)
    assert not report.ok
    assert report.first is None
    assert "random: two calls of it here differ" in report.summary
    array = {"head": np.zeros((6, 3), "float32")}
    report = compare_outputs(drawing(FUNCTIONS["normal"], is_always=True), X, array)
    assert report["head"].how == "random: it draws numbers here"


def dropouts(kind):
    """Return a model with one mask for a sum, one for each of its terms, or one dropout that is called for each."""
    inputs = keras.Input((5,))
    terms = []
    for seed in (1, 2):
        dense = layers.Dense(7, kernel_initializer=keras_initx.GlorotUniform(seed=seed), name=f"dense_{seed}")
        terms.append(dense(inputs))
    if kind == "sum":
        return finished(inputs, layers.Dropout(0.5, name="drop")(terms[0] + terms[1]))
    shared = layers.Dropout(0.5, name="drop")
    drops = [shared, shared] if kind == "shared" else [layers.Dropout(0.5), layers.Dropout(0.5)]
    return finished(inputs, drops[0](terms[0]) + drops[1](terms[1]))


@pytest.mark.release_backends
def test_independent_draws_stay_independent():
    report = compare_outputs(dropouts("sum"), X, dropouts("terms"), y=Y)
    assert report.step.outputs[""].answer == "differs"
    for kind in ("sum", "terms"):
        assert compare_outputs(dropouts(kind), X, dropouts(kind), y=Y).step.ok


def test_a_generator_that_draws_at_two_places_is_not_compared():
    class Twice(layers.Layer):
        def __init__(self):
            super().__init__(name="twice")
            self.seed = keras.random.SeedGenerator()

        def call(self, x):
            return x + keras.random.normal(x.shape, seed=self.seed) * keras.random.normal(x.shape, seed=self.seed)

    report = compare_outputs(dropouts("shared"), X, dropouts("shared"), y=Y)
    assert report.step.obstacle == "one random generator draws at several places, in drop here"
    inputs = keras.Input((5,))
    model = finished(inputs, Twice()(inputs))
    report = compare_outputs(model, X, model, y=Y)
    assert report.step.obstacle == "one random generator draws at several places, in twice here"
    assert not report.ok
    assert report["twice"].answer == "not known"


@pytest.mark.release_backends
def test_loops_draw_at_one_place():
    class Cell(layers.SimpleRNNCell):
        def __init__(self):
            super().__init__(5, name="cell")
            self.drop = layers.Dropout(0.5)

        def call(self, x, states, training=False):
            return super().call(self.drop(x, training=training), states, training=training)

    def recurrent():
        x = inputs = keras.Input((4, 5))
        x = layers.RNN(Cell(), return_sequences=True, name="rnn")(x)
        # Both masks have one shape, and one generator.
        x = layers.LSTM(5, dropout=0.3, recurrent_dropout=0.4, name="lstm")(x)
        model = finished(inputs, x)
        keras_initx.initialize(model, seed=0)
        return model

    x = np.stack([X] * 4, axis=1)
    assert compare_outputs(recurrent(), x, recurrent(), y=Y).step.ok
    looped = [drawing(FUNCTIONS["normal"], count=3) for _ in range(2)]
    assert compare_outputs(looped[0], X, looped[1], y=Y).step.ok
    with equal_draws() as draws:
        recurrent()(x, training=True)
    assert draws.repeated == []
    # The dropout of the cell, and both masks.
    assert {shape: list(ranks.values()) for shape, ranks in draws._ranks.items()} == {(6, 5): [0, 1, 2]}
