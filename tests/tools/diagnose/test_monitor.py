"""A monitor records during `fit` what `diagnose` says, and does not disturb it."""

import csv

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, to_numpy

import keras_initx

GENERATOR = np.random.default_rng(0)
BATCH = GENERATOR.normal(size=(48, 8)).astype("float32")
Y = GENERATOR.normal(size=(48, 1)).astype("float32")


def network(dropout=0.0):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(6, "tanh", name="hidden"), layers.Dropout(dropout), layers.BatchNormalization(name="norm")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(1, name="out")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def fit(model, *callbacks, epochs=2):
    # 6 steps in each epoch
    model.fit(BATCH, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))


def test_records_every_few_steps():
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=4)
    fit(network(), monitor)
    assert list(monitor.history) == [0, 4, 8, 12]


def test_records_are_of_the_weights_of_their_step():
    model = network()
    before = keras_initx.diagnose(model, BATCH, Y).to_json()
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=6)
    fit(model, monitor)
    assert monitor.history[0].to_json() == before
    assert monitor.history[6].to_json() != before
    last = monitor.history[12].rows[0]
    assert last.weights[0].norm == pytest.approx(np.linalg.norm(to_numpy(model.layers[0].kernel)), rel=1e-6)


@pytest.mark.release_backends
def test_training_is_as_without():
    weights = []
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=2)
    for callbacks in ([], [monitor]):
        model = network(dropout=0.3)
        fit(model, *callbacks, epochs=1)
        weights.append([to_numpy(weight.value) for weight in model.weights])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # In the middle of an epoch JAX keeps the weights elsewhere.
    assert monitor.history[6].rows[0].weights[0].norm == pytest.approx(np.linalg.norm(weights[1][0]), rel=1e-6)


def test_another_fit_is_another_history():
    model, monitor = network(), keras_initx.SignalMonitor(BATCH, every=3)
    fit(model, monitor)
    fit(model, monitor, epochs=1)
    assert list(monitor.history) == [0, 3, 6]


def test_the_batch_is_the_same_where_training_overwrites_the_arrays():
    x, y = BATCH.copy(), Y.copy()

    class Overwriting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            x[:], y[:] = 2 * x, 3 * y

    model = network()
    model.optimizer.learning_rate = 0.0
    monitor = keras_initx.SignalMonitor(x, y, every=3)
    fit(model, Overwriting(), monitor, epochs=1)
    found = [(report.inputs.std, report.rows[-1].gradient.norm) for report in monitor.history.values()]
    assert found == 3 * found[:1]


def test_arguments_of_diagnose_are_passed_on():
    model = network()
    model.layers[0].kernel.assign(np.zeros((8, 6)))
    monitors = [
        keras_initx.SignalMonitor(BATCH, every=6, batch_size=16, ignore=ignored) for ignored in ([], ["equal units"])
    ]
    fit(model, *monitors, epochs=1)
    assert monitors[0].history[0].rows[0].shape == (16, 6)
    found = [[verdict.problem for verdict in monitor.history[0].verdicts] for monitor in monitors]
    assert found == [["equal units"], []]


def test_a_monitor_and_its_history_are_shown_in_a_line_for_each_report():
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=6)
    fit(network(), monitor, epochs=1)
    assert repr(monitor) == "<SignalMonitor of 2 reports, every 6 steps>"
    shown = "<DiagnosisReport of 3 layers: no problem found>"
    assert repr(monitor.history) == f"{{0: {shown}, 6: {shown}}}"


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (1.5, TypeError)])
def test_every_is_a_positive_integer(every, error):
    with pytest.raises(error, match=rf"`every` must be a positive integer. Received: every={every}"):
        keras_initx.SignalMonitor(BATCH, every=every)


@pytest.mark.parametrize("name", ["loss", "ignore"])
def test_a_wrong_option_is_found_before_the_training(name):
    with pytest.raises((TypeError, ValueError), match=rf"`{name}` must be .* Received: {name}='wrong'"):
        keras_initx.SignalMonitor(BATCH, Y, **{name: "wrong"})


def test_wrong_arguments_are_found_before_the_training():
    with pytest.raises(ValueError, match="`x` and `y` must have the same number of examples"):
        keras_initx.SignalMonitor(BATCH, Y[:3])


def test_a_call_for_several_steps_has_a_report_if_one_was_due_in_it():
    model, monitor = network(), keras_initx.SignalMonitor(BATCH, every=3)
    model.steps_per_execution = 2
    monitor.set_model(model)
    monitor.on_train_begin()
    for batch in (1, 3, 5):
        monitor.on_train_batch_end(batch)
    assert list(monitor.history) == [0, 4, 6]


# On torch Keras takes one step at a time.
@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND != "jax", reason="on one backend that takes several steps at a time")
def test_a_last_call_with_fewer_steps_counts_in_full():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=4)
    x = np.ones((160, 4), "float32")
    monitor = keras_initx.SignalMonitor(x[:16], every=4)
    model.fit(x, x[:, :1], batch_size=16, epochs=2, verbose=0, callbacks=[monitor])
    assert list(monitor.history) == [0, 4, 8, 12, 16, 20, 24]


@pytest.mark.release_backends
def test_the_logs_of_an_epoch_get_one_key(capfd):
    model, monitor = network(), keras_initx.SignalMonitor(BATCH, Y, every=6)
    model.fit(BATCH, Y, batch_size=8, epochs=2, verbose=2, validation_data=(BATCH, Y), callbacks=[monitor])
    assert list(model.history.history) == ["loss", "val_loss", "problems"]
    assert model.history.history["problems"] == [len(monitor.history[step].problems) for step in (6, 12)]
    assert capfd.readouterr().out.count("problems: ") == 2


def logged(tmp_path, *before, **options):
    """Return the rows that a `CSVLogger` after the callbacks `before` and a monitor writes, and the monitor."""
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=6, **options)
    path = tmp_path / "log.csv"
    fit(network(), *before, monitor, keras.callbacks.CSVLogger(path))
    return list(csv.DictReader(path.read_text().splitlines())), monitor


def test_a_logger_after_the_monitor_writes_the_problems(tmp_path):
    rows, _ = logged(tmp_path)
    assert [float(row["problems"]) for row in rows] == [0, 0]
    assert not any("/" in name for row in rows for name in row)


def test_measures_of_layers_are_in_the_logs_if_asked_for(tmp_path):
    rows, monitor = logged(tmp_path, log_layers=True)
    for step, row in zip((6, 12), rows, strict=True):
        for layer in monitor.history[step].rows:
            assert float(row[f"std/{layer.path}"]) == layer.after.std
            assert float(row[f"gradient/{layer.path}"]) == layer.gradient.norm


def test_a_callback_before_the_monitor_does_not_see_its_measures(tmp_path):
    path = tmp_path / "before.csv"
    logged(tmp_path, keras.callbacks.CSVLogger(path), log_layers=True)
    assert path.read_text().splitlines()[0] == "epoch,loss,val_loss"


def test_training_stops_at_the_first_loss_that_is_not_finite():
    x = BATCH.copy()
    x[24:32] = np.nan  # the fourth batch
    model, monitor = network(), keras_initx.SignalMonitor(BATCH, Y, every=3)
    with pytest.warns(
        UserWarning, match="after step 4, because the loss is not finite. After step 3, .* had the largest output"
    ):
        model.fit(x, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[monitor])
    assert list(monitor.history) == [0, 3, 4]
    assert len(model.history.history["loss"]) == 1
    assert monitor.stopped.startswith("training stopped after step 4")


def test_training_stops_at_a_weight_that_is_not_finite():
    class Breaking(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.get_layer("out").kernel.assign(np.full((6, 1), np.inf))

    model, monitor = network(), keras_initx.SignalMonitor(BATCH, every=2)
    with pytest.warns(UserWarning, match="after step 2, because out/kernel is not finite"):
        fit(model, Breaking(), monitor)
    assert list(monitor.history) == [0, 2]


class Masked(layers.Layer):
    """Add a mask, which is kept as a weight, before a softmax."""

    def build(self, shape):
        values = keras.initializers.Constant([0, -np.inf, 0])
        self.mask = self.add_weight(shape=(3,), initializer=values, trainable=False)

    def call(self, inputs):
        return keras.ops.softmax(inputs + self.mask)


@pytest.mark.rare
def test_training_goes_on_with_a_mask_that_is_infinite():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3), Masked(), layers.Dense(1)])
    model.compile("sgd", "mse")
    monitor = keras_initx.SignalMonitor(BATCH, Y, every=2)
    fit(model, monitor)
    assert monitor.stopped is None


@pytest.mark.rare
def test_another_fit_forgets_that_training_was_stopped():
    model, monitor = network(), keras_initx.SignalMonitor(BATCH, every=3)
    with pytest.warns(UserWarning, match="the loss is not finite"):
        model.fit(np.full_like(BATCH, np.nan), Y, batch_size=8, verbose=0, callbacks=[monitor])
    fit(network(), monitor)
    assert monitor.stopped is None
