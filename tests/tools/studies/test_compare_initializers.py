"""What a comparison finds is what is there, and nothing else."""

import contextlib
import functools
import os
import pickle
import random
import threading
import time

import joblib
import keras
import numpy as np
import pytest
from cases import label
from joblib.externals.loky import cloudpickle_wrapper
from modes import BACKEND, to_numpy
from networks import build, build_he, data, timeless

import keras_initx
from keras_initx import compare_initializers, random_restarts
from keras_initx.initializers._seeds import seed_initializer
from keras_initx.tools.studies import _engine

TWINS = {"one": "he_normal", "other": "he_normal"}


@pytest.fixture(scope="module")
def planted():
    return compare_initializers(build, {**TWINS, "zeros": "zeros"}, data(), repeats=3, epochs=2, title="blobs")


def verdict(study, *names):
    (row,) = (row for row in study.comparisons() if {row["first"], row["second"]} == set(names))
    return row["verdict"]


@pytest.mark.rare
def test_twins_have_the_same_curves_bit_for_bit(planted):
    records = timeless(planted.rows)
    one, other = ([{**r, "arm": None} for r in records if r["arm"] == name] for name in TWINS)
    assert one == other
    assert len(one) == 3 * 3


def test_a_config_draws_like_the_initializer():
    config = keras.initializers.serialize(keras.initializers.HeNormal())
    study = compare_initializers(build, {"id": "he_normal", "config": config}, data(), repeats=1, epochs=1)
    assert study.final_values("config") == study.final_values("id")
    assert study.settings["unseeded"] == []


@keras.saving.register_keras_serializable("study")
class OfKeras(keras.initializers.Initializer):
    """An initializer as the guides of Keras have it."""

    def __init__(self, stddev=0.1, seed=None):
        self.stddev, self.seed = stddev, seed

    def __call__(self, shape, dtype=None):
        return keras.random.normal(shape, 0.0, self.stddev, dtype, seed=self.seed)

    def get_config(self):
        return {"stddev": self.stddev, "seed": self.seed}


@keras.saving.register_keras_serializable("study")
class OfNumpy(OfKeras):
    """One that draws by NumPy."""

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.random.default_rng(self.seed).normal(0, self.stddev, shape), dtype)


@pytest.mark.release_backends
@pytest.mark.parametrize("cls", [OfKeras, OfNumpy])
@pytest.mark.parametrize("is_inside", [False, True])
def test_an_initializer_of_a_user_draws_by_its_own_seed(cls, is_inside):
    initializer = keras_initx.Scaled(cls(), 2.0) if is_inside else cls()
    one, same, other = (seed_initializer(initializer, seed) for seed in (1, 1, 2))
    assert is_inside or isinstance(one, cls)
    draws = [to_numpy(own((3, 4), "float32")) for own in (one, one, same, same, other)]
    np.testing.assert_array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(draws[1], draws[3])
    assert len({draw.tobytes() for draw in draws}) == 3
    assert 0.02 < draws[0].std() < 0.6


def test_a_study_takes_an_initializer_of_a_user():
    study = compare_initializers(build, {"mine": OfKeras(), "numpy": OfNumpy()}, data(), repeats=2, epochs=1)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert study.settings["unseeded"] == []
    assert len(set(study.final_values("mine").values())) == 2


def test_a_study_leaves_the_generator_of_python_as_it_was(tmp_path):
    initializers = {"id": "he_normal", "object": keras.initializers.HeNormal(), "ours": keras_initx.Sparse(2)}
    before = random.getstate()
    for _ in range(2):
        compare_initializers(build, initializers, data(), repeats=1, epochs=1, out=tmp_path)
        assert random.getstate() == before


@pytest.mark.rare
def test_a_study_that_goes_on_or_runs_elsewhere_has_the_same_records_but_for_the_seconds(tmp_path):
    """A thread counts automatic names by itself, as a process does."""

    def timeless_trials(study):
        return {key: {**trial, "epochs": timeless(trial["epochs"])} for key, trial in study.trials.items()}

    options = {"initializers": ["zeros", "he_normal"], "data": data(), "epochs": 1}
    one = compare_initializers(build, **options, repeats=2)
    compare_initializers(build, **options, repeats=1, out=tmp_path)
    resumed = compare_initializers(build, **options, repeats=2, out=tmp_path)
    with joblib.parallel_config("threading"):
        elsewhere = compare_initializers(build, **options, repeats=2, n_jobs=2)
    assert timeless_trials(one) == timeless_trials(resumed)
    for key, trial in elsewhere.trials.items():
        assert trial["epochs"][0].keys() == one.trials[key]["epochs"][0].keys()


def test_twins_do_not_differ(planted):
    assert verdict(planted, "one", "other") == "not shown with 3 repeats, would take more than 1000"
    told = "With 3 repeats no difference is shown between one and other (would take more than 1000)."
    assert told in " ".join(str(planted).split())


def test_zeros_are_worse(planted):
    assert verdict(planted, "one", "zeros") == "one is better"
    assert "one and other are each better than zeros." in str(planted)
    assert planted.statistics()[-1]["arm"] == "zeros"


def build_without_loss(initializer):
    layer = keras.layers.Dense(2, use_bias=False, kernel_initializer=initializer, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile("sgd")
    return model


def test_a_model_that_is_compiled_without_a_loss_is_trained():
    study = compare_initializers(build_without_loss, ["he_normal"], data(), repeats=2, epochs=1, monitor="val_loss")
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 2


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")  # as in `fit`
@pytest.mark.parametrize("what", ["loss", "metrics", "inputs"])
def test_names_that_look_automatic_may_be_used(what):
    def build(initializer):
        inputs = keras.Input((6,), name="input_layer")
        outputs = keras.layers.Dense(3, "softmax", kernel_initializer=initializer, name="dense")(inputs)
        model = keras.Model(inputs, outputs)
        loss, metrics = "sparse_categorical_crossentropy", ["accuracy"]
        metrics = {"dense": metrics} if what == "metrics" else metrics
        model.compile("sgd", {"dense": loss} if what == "loss" else loss, metrics=metrics)
        return model

    def part(x, y):
        return {"input_layer": x} if what == "inputs" else x, y

    study = compare_initializers(build, ["he_normal"], [part(*own) for own in data()], repeats=2, epochs=1)
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 2


def test_repeats_differ(planted):
    assert (
        len(set(planted.final_values("one").values()) | {t["epochs"][1]["loss"] for t in planted.trials.values()}) > 4
    )


def by_pickle(function):
    """Return a function whose arguments and result are copied as on the way to a process and back."""

    def copied(*arguments):
        result = function(*pickle.loads(cloudpickle_wrapper.dumps(arguments)))
        return pickle.loads(pickle.dumps(result))

    return copied


@pytest.mark.rare
@pytest.mark.release_backends
def test_workers_find_the_same(monkeypatch):
    """Processes of their own, which start for ten seconds, are in `tests/hunt/test_studies.py`."""
    options = {"repeats": 1, "epochs": 2}
    alone = compare_initializers(build, ["zeros", "he_normal"], data(), **options)
    monkeypatch.setattr(_engine, "_run_elsewhere", by_pickle(_engine._run_elsewhere))
    with joblib.parallel_config("threading"):
        study = compare_initializers(build, ["zeros", "he_normal"], data(), **options, n_jobs=2)
    for record, other in zip(timeless(study.rows), timeless(alone.rows), strict=True):
        assert record == pytest.approx(other, abs=0 if BACKEND == "jax" else 1e-4)


@pytest.mark.parametrize("kept", ["model", "lock"])
def test_what_cannot_come_to_a_process_is_told(kept):
    model, lock = sharing(keras.layers.Dense(4))(), threading.Lock()
    message = r"`build` must make a new model in each trial, .* Received: 'sequential\w*' again"
    if kept == "lock":
        message = "`build` and its arguments must be picklable for `n_jobs` other than 1: use functions of a module"

    def build_again(initializer):
        with lock if kept == "lock" else contextlib.nullcontext():
            return model

    error = TypeError if kept == "lock" else ValueError
    with joblib.parallel_config("loky" if kept == "lock" else "threading"), pytest.raises(error, match=message):
        compare_initializers(build_again, ["zeros", "ones"], data(), repeats=1, epochs=1, n_jobs=2)


def test_a_trial_that_ends_too_early_has_failed():
    message = "training must run for 2 epochs, and ended after 1; the model must not set `stop_training`"
    with pytest.raises(RuntimeError, match=message):
        compare_initializers(build_stopping, ["zeros"], data(), repeats=1, epochs=2)


@pytest.mark.rare
def test_trials_leave_the_global_generators_as_they_were():
    def draw():
        return random.random(), np.random.random()  # noqa: NPY002

    keras.utils.set_random_seed(7)
    expected = draw()
    keras.utils.set_random_seed(7)
    compare_initializers(build, ["zeros"], data(), repeats=1, epochs=1)
    assert draw() == expected


@pytest.mark.rare
def test_only_one_thread_trains_at_a_time():
    at_work = threading.Lock()

    def build_alone(initializer):
        assert at_work.acquire(blocking=False)
        time.sleep(0.05)  # for the other thread to come
        at_work.release()
        return build(initializer)

    with joblib.parallel_config("threading"):
        study = compare_initializers(build_alone, TWINS, data(), repeats=2, epochs=1, n_jobs=2)
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 4


def test_a_worker_on_another_backend_is_an_error():
    with pytest.raises(RuntimeError, match=f"a worker must run Keras on nonsense; .* Received: {BACKEND}"):
        _engine._run_elsewhere("nonsense", {}, None, None)


@pytest.mark.parametrize("before", [None, BACKEND], ids=["unset", "set"])
def test_processes_leave_the_environment_as_it_was(monkeypatch, before):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if before is not None:
        monkeypatch.setenv("KERAS_BACKEND", before)
    seen = []

    def build_and_look(initializer):
        seen.append(os.environ["KERAS_BACKEND"])
        return build(initializer)

    with joblib.parallel_config("threading"):
        compare_initializers(build_and_look, ["zeros"], data(), repeats=1, epochs=1, n_jobs=2)
    assert seen == [BACKEND]
    assert os.environ.get("KERAS_BACKEND") == before


def test_a_failing_trial_does_not_end_the_study(tmp_path):
    full = tmp_path / "full"
    full.touch()

    def build_if_there_is_room(units):
        if full.exists() and units == 2:
            raise OSError("no room left")
        return build("zeros")

    arguments = {"build": build_if_there_is_room, "initializers": {"two": 2, "three": 3}, "data": data()}
    study = compare_initializers(**arguments, repeats=2, epochs=1, out=tmp_path / "out")
    assert "two: 2 of 2 trials failed: OSError: no room left." in str(study)
    assert study.trials["two", 1]["traceback"].startswith("Traceback")
    assert len(study.final_values("three")) == 2
    full.unlink()
    assert len(compare_initializers(**arguments, repeats=2, epochs=1, out=tmp_path / "out").final_values("two")) == 2


def build_with_rate(rate):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def test_divergence_ends_a_trial_and_is_told():
    study = compare_initializers(build_with_rate, {"small": 0.01, "huge": 1e30}, data(), repeats=2, epochs=3)
    assert [trial["status"] for trial in study.trials.values()] == ["finished", "diverged"] * 2
    assert len(study.trials["huge", 1]["epochs"]) == 2
    assert not np.isfinite(study.trials["huge", 1]["epochs"][-1]["loss"])
    assert "huge: 2 of 2 trials diverged, so it is last and not tested." in str(study)
    assert study.monitor == "val_loss"
    assert study.mode == "min"


class DrawingBefore(keras_initx.HeNormal):
    """Draws from the global generators as it is made."""

    def __init__(self, seed=None):
        super().__init__(seed)
        random.random()
        np.random.random()  # noqa: NPY002


@pytest.mark.rare
def test_nothing_else_depends_on_the_initializer():
    seeds = []

    def build_and_look(initializer):
        model = build(initializer)
        seeds.append(to_numpy(model.layers[1].seed_generator.state).tolist())
        return model

    initializers = {"zeros": "zeros", "he": "he_normal", "own": DrawingBefore()}
    compare_initializers(build_and_look, initializers, data(), repeats=2, epochs=1)
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3] == seeds[4] == seeds[5]


@pytest.mark.parametrize(
    "initializer",
    [
        "he_normal",
        keras_initx.Scaled(keras_initx.HeNormal(), 0.5),
        keras.initializers.HeNormal(),
    ],
    ids=label,
)
def test_each_layer_and_each_seed_has_a_draw_of_its_own(initializer):
    def draws(seed):
        initializer_of_trial = seed_initializer(initializer, seed)
        return [to_numpy(initializer_of_trial((12, 12))) for _ in range(2)]

    first, second = draws(1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draws(2)[0])
    np.testing.assert_array_equal(first, draws(1)[0])


def sharing(layer):
    def build(initializer="he_normal"):
        model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=BACKEND != "jax")
        return model

    return build


def test_one_model_in_all_trials_is_refused(tmp_path):
    model = sharing(keras.layers.Dense(4, name="hidden"))()
    message = r"`build` must make a new model in each trial, .* Received: 'sequential\w*' again"
    with pytest.raises(ValueError, match=message):
        compare_initializers(lambda _: model, ["zeros"], data(), repeats=2, epochs=1, out=tmp_path)
    assert len(list(tmp_path.glob("zeros.*.json"))) == 1
    again = sharing(keras.layers.Dense(4, name="hidden"))()
    with pytest.raises(ValueError, match=message):
        random_restarts(lambda: again, data(), draws=2, epochs=1)


def test_a_trained_part_in_all_trials_is_refused():
    build = sharing(keras.layers.Dense(4))
    with pytest.raises(ValueError, match=r"`build` must make a new model in each trial, .* 'kernel' again"):
        compare_initializers(build, ["zeros"], data(), repeats=2, epochs=1)


@pytest.mark.parametrize("scaled", [False, True], ids=["itself", "scaled"])
def test_one_optimizer_in_all_trials_is_refused(scaled):
    """Its moments would go from one trial to the next."""
    optimizer = keras.optimizers.Adam()

    def build_with_it(initializer):
        model = build(initializer)
        own = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
        model.compile(own, "sparse_categorical_crossentropy", run_eagerly=BACKEND != "jax")
        return model

    with pytest.raises(ValueError, match=r"with a new optimizer, .* Received: 'adam\w*' again"):
        compare_initializers(build_with_it, TWINS, data(), repeats=1, epochs=1)


def test_a_frozen_part_may_be_in_all_trials():
    build = sharing(keras.layers.Dense(4, trainable=False))
    study = compare_initializers(build, ["zeros"], data(), repeats=2, epochs=1)
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 2


@pytest.mark.release_backends
def test_random_parts_of_all_trials_begin_each_in_the_same_state():
    noise = keras.layers.GaussianNoise(1.0)

    def with_noise(initializer):
        last = keras.layers.Dense(3, "softmax", kernel_initializer=initializer)
        model = keras.Sequential([keras.Input((6,)), noise, last])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=BACKEND != "jax")
        return model

    study = compare_initializers(with_noise, TWINS, data(), repeats=1, epochs=1)
    assert study.final_values("one") == study.final_values("other")


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")
def test_a_module_of_torch_in_all_trials_begins_each_in_the_same_state():
    import torch

    module = torch.nn.BatchNorm1d(6, affine=False)  # has buffers, and no variables of Keras
    wrapper = keras.layers.TorchModuleWrapper(module)

    def with_module(initializer):
        last = keras.layers.Dense(3, "softmax", kernel_initializer=initializer)
        model = keras.Sequential([keras.Input((6,)), wrapper, last])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    before = module.running_mean.clone()
    study = compare_initializers(with_module, TWINS, data(), repeats=1, epochs=1)
    assert study.final_values("one") == study.final_values("other")
    assert torch.equal(module.running_mean, before)


class Unseeded(keras.initializers.Initializer):
    """Draws from a generator of its own."""

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.random.default_rng().normal(0, 0.1, shape), dtype)


def unseeded(shape, dtype=None):
    return Unseeded()(shape, dtype)


@pytest.mark.rare
def test_what_takes_no_seed_is_told(tmp_path):
    initializers = {
        "object": Unseeded(),
        "inner": keras_initx.Scaled(Unseeded(), 2.0),
        "part": {"kernel": Unseeded()},
        "function": unseeded,
        "seeded": keras_initx.HeNormal(),
        "constant": keras.initializers.Constant(0.1),
        "zeros": "zeros",
    }

    def build_any(initializer):
        return build(initializer["kernel"] if isinstance(initializer, dict) else initializer)

    study = compare_initializers(build_any, initializers, data(), repeats=1, epochs=1, out=tmp_path / "out")
    told = "Without a seed: object, inner, part and function. Random numbers there form no pairs"
    assert told in " ".join(str(study).split())
    seeded_alone = compare_initializers(build, ["zeros", "he_normal"], data(), repeats=1, epochs=1)
    assert "No seed" not in str(seeded_alone)


class Stopping(keras.Sequential):
    """Ends training when it likes."""

    def train_step(self, *arguments):  # JAX hands in the state too
        self.stop_training = True
        return super().train_step(*arguments)


def build_stopping(initializer="he_normal"):
    model = Stopping([keras.Input((6,)), keras.layers.Dense(3, "softmax", kernel_initializer=initializer)])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


@functools.wraps(build_he)
def wrapping(initializer):
    """Take an argument that the wrapped function does not take."""
    return build(initializer)


@pytest.mark.parametrize(
    "given",
    [
        Stopping,
        lambda *arguments: build(*arguments),
        wrapping,
    ],
    ids=["class", "any arguments", "wrapper"],
)
def test_a_build_may_be_anything_that_takes_an_initializer(given):
    _engine.check_build(given, "initializer")
