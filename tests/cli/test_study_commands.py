"""Studies on the command line."""

import importlib.util
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import streams
from matplotlib.figure import Figure
from networks import blobs

from keras_initx import cli, studies
from keras_initx.rendering import _terminal
from keras_initx.studies import RestartStudy, Study

pytestmark = pytest.mark.once


@pytest.fixture
def options(tmp_path):
    """Return options that make a study short."""
    x, y, x_test, y_test = *blobs().train, *blobs().validation
    np.savez(tmp_path / "blobs.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    options = {"--data": tmp_path / "blobs.npz", "--model": "mlp", "--epochs": 2, "--out": tmp_path / "out"}
    return [str(part) for option in options.items() for part in option]


@pytest.fixture
def blank_figures(monkeypatch):
    blank(monkeypatch)


def blank(monkeypatch):
    """Have empty files written in place of figures, because drawing takes most of the time of a short study."""

    def write(figure, file, **options):
        if isinstance(file, pathlib.Path):
            file.touch()

    monkeypatch.setattr(Figure, "savefig", write)


COMPARE = ("compare", "--initializers", "he_normal,zeros", "--repeats", "2")
FILES = {"study.json", "trials", "table.txt", "plots", "report.html", "records.csv", "records.jsonl"}


def test_compare_and_report(options, tmp_path, capsys, monkeypatch):
    assert cli.main([*COMPARE, *options, "--learning-rate", "0.1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("mlp on blobs\n2 repeats of 2 epochs")
    assert printed.err.startswith(f"Training mlp on blobs; {tmp_path / 'out'} keeps what is done.\n")
    assert "Traceback" not in printed.err
    assert "\x1b" not in printed.out + printed.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<td style="text-align: left">he_<wbr>normal, zeros</td>' in page  # names, not the objects
    assert page.count("<img ") == len(list((tmp_path / "out" / "plots").iterdir())) > 1
    blank(monkeypatch)
    assert cli.main(["report", str(tmp_path / "out"), "--monitor", "val_loss", "--threshold", "0.5"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ +initializer +val_loss +95 % interval +to 0\.500 ", text, re.MULTILINE)
    assert (tmp_path / "out" / "table.txt").read_text() in text


@pytest.mark.usefixtures("blank_figures")
def test_restarts_and_report(options, tmp_path, capsys):
    assert cli.main(["restarts", "--n", "2", "--checks", "0", *options]) == 0
    assert "came out best: val_accuracy" in capsys.readouterr().out
    model = keras.models.load_model(tmp_path / "out" / "best.keras")
    assert model.output_shape == (None, 3)
    assert cli.main(["report", str(tmp_path / "out")]) == 0
    assert "came out best: val_accuracy" in capsys.readouterr().out
    metric = ["--monitor", "val_loss", "--mode", "max"]
    assert cli.main(["report", str(tmp_path / "out"), *metric]) == 0
    best = max(draw["epochs"][-1]["val_loss"] for draw in RestartStudy.read(tmp_path / "out").draws)
    assert f"came out best: val_loss {best:.3f} after" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("blank_figures")
def test_compare_takes_initializers_with_arguments(options, tmp_path, capsys):
    names = ["zeros", "initx.sparse(gain=relu)", "initx.sparse(connections=3, gain=relu)"]
    command = ["compare", "--initializers", ",".join(names), "--repeats", "2", *options]
    assert cli.main(command) == 0
    study = Study.read(tmp_path / "out")
    assert study.initializers == names
    assert study.settings["initializers"][names[2]]["config"]["connections"] == 3
    assert not np.array_equal(study.curves(names[1], "loss"), study.curves(names[2], "loss"))
    trials = {path: path.read_text() for path in tmp_path.glob("out/trials/*")}
    assert cli.main(command) == 0
    assert {path: path.read_text() for path in tmp_path.glob("out/trials/*")} == trials


@pytest.mark.parametrize(("model", "gain"), [("mlp", "relu"), ("lstm", 1.0)])
def test_the_initializers_of_a_comparison_suit_the_model(capsys, tmp_path, monkeypatch, model, gain):
    def compared(build, initializers, data, **options):
        received.extend(map(keras.initializers.get, initializers.values()))
        raise RuntimeError("that is enough")

    received = []
    monkeypatch.setattr(studies, "compare_initializers", compared)
    assert "that is enough" in refused(capsys, "compare", "--model", model, "--out", tmp_path / "out")
    assert [initializer.gain for initializer in received[2:]] == [gain, gain]


@pytest.mark.parametrize(
    ("command", "function", "expected"),
    [
        ("compare --repeats 7 --no-diagnosis", "compare_initializers", {"repeats": 7, "diagnosis": False}),
        ("compare --threshold 0.5 --mode max", "compare_initializers", {"threshold": 0.5, "mode": "max"}),
        (
            "restarts --n 6 --checks 4 --monitor val_loss",
            "random_restarts",
            {"n": 6, "checks": 4, "monitor": "val_loss"},
        ),
        ("restarts --seed 5 --jobs 2 --batch-size 9", "random_restarts", {"seed": 5, "n_jobs": 2, "batch_size": 9}),
        ("compare --seed 0 --jobs -1 --epochs 3", "compare_initializers", {"seed": 0, "n_jobs": -1, "epochs": 3}),
    ],
)
def test_options_reach_the_study(capsys, tmp_path, monkeypatch, command, function, expected):
    def study(*arguments, **options):
        received.update(options)
        raise RuntimeError("that is enough")

    received = {}
    monkeypatch.setattr(studies, function, study)
    refused(capsys, *command.split(), "--model", "mlp", "--out", tmp_path / "out")
    assert {name: received[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "optimizer", "rate"), [((), "SGD", 0.01), (("--optimizer", "adam"), "Adam", 0.001)]
)
def test_the_optimizer_is_an_option(capsys, tmp_path, monkeypatch, options, optimizer, rate):
    def study(build, initializers, data, **settings):
        built.append(build("zeros"))
        raise RuntimeError("that is enough")

    built = []
    monkeypatch.setattr(studies, "compare_initializers", study)
    refused(capsys, "compare", "--model", "mlp", "--out", tmp_path / "out", *options)
    assert type(built[0].optimizer).__name__ == optimizer
    assert float(built[0].optimizer.learning_rate) == pytest.approx(rate)


def test_a_network_that_does_not_suit_the_data_is_an_error(capsys, options):
    assert "error: " in refused(capsys, *COMPARE, *options, "--model", "cnn")
    assert not os.path.exists(options[-1])


def interrupt_second_trial(monkeypatch):
    """Have Ctrl-C pressed when the second trial begins to train."""
    fit, begun = keras.Model.fit, []

    def interrupted(model, *arguments, initial_epoch, **options):
        if initial_epoch == 0:
            begun.append(model)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return fit(model, *arguments, initial_epoch=initial_epoch, **options)

    monkeypatch.setattr(keras.Model, "fit", interrupted)


@pytest.mark.usefixtures("blank_figures")
def test_interrupted_restarts_show_what_there_is(options, tmp_path, capsys, monkeypatch):
    interrupt_second_trial(monkeypatch)
    assert cli.main(["restarts", "--n", "2", "--checks", "0", *options]) == 130
    assert "Interrupted; run the same command again to resume." in capsys.readouterr().err
    assert not (tmp_path / "out" / "best.keras").exists()
    assert (tmp_path / "out" / "table.txt").exists()


@pytest.mark.usefixtures("blank_figures")
def test_restarts_give_layers_of_one_shape_different_draws(options, tmp_path, capsys):
    command = ["restarts", "--initializer", "initx.random_normal(stddev=0.5)", "--n", "1", "--checks", "0", *options]
    assert cli.main([*command, "--epochs", "1", "--learning-rate", "1e-9"]) == 0
    assert "mlp on blobs, initx.random_normal(stddev=0.5)" in capsys.readouterr().out
    model = keras.models.load_model(tmp_path / "out" / "best.keras")
    first, second, _ = (np.ravel(layer.kernel) for layer in model.layers if layer.weights)
    assert np.std(second) == pytest.approx(0.5, rel=0.1)
    assert not np.isin(first, second).any()


@pytest.mark.usefixtures("blank_figures")
def test_interrupted_studies_show_what_there_is(options, tmp_path, capsys, monkeypatch):
    interrupt_second_trial(monkeypatch)
    assert cli.main([*COMPARE, *options]) == 130
    printed = capsys.readouterr()
    assert "Interrupted; run the same command again to resume." in printed.err
    assert "he_normal: 1 of 2 trials unfinished." in printed.out
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES


def test_a_study_that_is_interrupted_before_it_begins(options, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "compare_initializers", interrupted)
    assert cli.main([*COMPARE, *options]) == 130
    assert "No such file" not in capsys.readouterr().err


# The file imports the package as the command has it: as a whole, and once.
OWN = """
import keras_initx
import keras

keras.initializers.get("initx.sparse")
print("One package:", keras_initx.Sparse is keras_initx.initializers.Sparse)

def build(initializer):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax", kernel_initializer=initializer)])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


OBJECTS = """
import keras

class ErrorRate(keras.metrics.SparseCategoricalAccuracy):
    def result(self):
        return 1 - super().result()

def build(initializer, metric):
    hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, "softmax")])
    optimizer = keras.optimizers.SGD(0.5)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=[metric], run_eagerly=True)
    return model

def known(initializer):
    return build(initializer, keras.metrics.SparseCategoricalAccuracy())

def unknown(initializer):
    return build(initializer, ErrorRate(name="error"))
"""


@pytest.mark.usefixtures("blank_figures")
def test_a_file_with_a_metric_object(options, tmp_path, capsys):
    (tmp_path / "own.py").write_text(OBJECTS)
    message = "`mode` must be 'max' or 'min' for a metric of which it is not known"
    for command in (COMPARE, ["restarts", "--n", "2", "--checks", "0"]):
        out = tmp_path / command[0]
        arguments = [*command, *options, "--model", f"{tmp_path / 'own.py'}:known", "--out", str(out)]
        assert cli.main(arguments) == 0
        assert "val_sparse_categorical_accuracy" in capsys.readouterr().out
        assert message in refused(capsys, *arguments[:-3], f"{tmp_path / 'own.py'}:unknown", "--out", f"{out}-2")
        assert not any(file.read_bytes() for file in tmp_path.glob(f"{command[0]}-2/trials/*"))
    study = Study.read(tmp_path / "compare")
    assert [row["initializer"] for row in study.statistics()] == ["he_normal", "zeros"]
    assert cli.main([*COMPARE, *options, "--model", f"{tmp_path / 'own.py'}:unknown", "--mode", "min"]) == 0
    assert message in refused(capsys, "report", tmp_path / "out")
    assert cli.main(["report", str(tmp_path / "out"), "--mode", "min"]) == 0
    assert re.search("^1  he_normal.*^2  zeros", capsys.readouterr().out, re.MULTILINE | re.DOTALL)


@pytest.mark.full  # three new processes, beside what is interrupted in this one
@pytest.mark.skipif(sys.platform == "win32", reason="a console sends Ctrl-C otherwise there")
def test_interrupted_processes_show_what_there_is(options, tmp_path):
    """A terminal sends Ctrl-C to all processes of a command."""
    (tmp_path / "own.py").write_text(OWN)
    study = [*COMPARE, *options, "--model", f"{tmp_path / 'own.py'}:build", "--repeats", "100", "--jobs", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Where tests run in the background Ctrl-C may be ignored, which the command would inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = subprocess.Popen([sys.executable, "-m", "keras_initx", *study], start_new_session=True, **pipes)
    signal.signal(signal.SIGINT, before)
    while command.poll() is None and not any('"end"' in file.read_text() for file in tmp_path.glob("out/trials/*")):
        time.sleep(0.05)
    os.killpg(command.pid, signal.SIGINT)
    printed, errors = command.communicate()  # which waits for all that could write to the pipes
    assert command.returncode == 130, errors
    assert "Interrupted; run the same command again to resume." in errors
    # Python tells when Ctrl-C comes in a callback of its collector of garbage, as JAX has one, and goes on.
    errors = re.sub(r"(?s)Exception ignored in: <function _xla_gc_callback.*?KeyboardInterrupt: ?\n", "", errors)
    assert "Traceback" not in errors
    assert "of 100 trials unfinished." in printed
    assert "One package: True" in printed


def test_a_terminal_shows_the_time_that_is_left(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with _terminal.progress("compare", 4, "epochs") as advance:
        advance(3)
    assert re.search(r"compare.*3/4.*epochs,.*elapsed,.*left", capsys.readouterr().err)


@pytest.mark.parametrize("shown", [_terminal.status, lambda: _terminal.progress("compare", 4, "epochs")])
def test_nothing_is_shown_where_the_error_stream_is_closed(monkeypatch, shown):
    monkeypatch.setattr(sys, "stderr", None)
    with shown() as update:
        update(1)


@pytest.mark.parametrize("option", ["--optimizer=adam", "--learning-rate=7"])
def test_a_function_compiles_its_model_itself(capsys, tmp_path, option):
    (tmp_path / "net.py").touch()
    command = "compare", "--model", tmp_path / "net.py:build", "--out", tmp_path / "out", option
    assert "--optimizer and --learning-rate are for built-in networks" in refused(capsys, *command)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main([str(argument) for argument in arguments])
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--data", "nonsense"], "data must be one of ('digits', "),
        (["compare", "--model", "nonsense"], "a model must be one of ('mlp', "),
        (["compare", "--initializers", "nonsense"], "nonsense"),
        (["compare", "--initializers", ","], "`initializers` must not be empty"),
        (["compare", "--initializers", "zeros,zeros"], "`initializers` must differ. Received: zeros, zeros"),
        (["compare", "--initializers", "initx.sparse(gai=relu)"], "initx.sparse(gai=relu): "),
        (["compare", "--initializers", "initx.sparse(gain=relu"], "Received: initx.sparse(gain=relu\n"),
        (["restarts", "--initializer", "initx.sparse(gain=nonsense)"], "`gain` must be one of ('linear', "),
        (["compare", "--optimizer", "nonsense"], "nonsense"),
        (
            ["compare", "--optimizer", "lossscaleoptimizer"],
            "cannot be built for inputs of shape (8, 8, 1) and 10 classes",
        ),
        (["compare", "--repeats", "0"], "invalid positive integer value: '0'"),
        (["restarts", "--initializer", "nonsense"], "nonsense"),
        (["restarts", "--checks", "-1"], "argument --checks: invalid non-negative integer value: '-1'"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_an_error(capsys, tmp_path, arguments, message):
    assert message in refused(capsys, *arguments, "--out", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "--out", "s3://bucket/study"),
        ("restarts", "--out", "s3://bucket/study"),
        ("report", "s3://bucket/study"),
        ("compare", "--data", "s3://bucket/data.npz"),
        ("initialize", "--out", "s3://bucket/model.keras", "model.keras"),
        ("initialize", "s3://bucket/model.keras", "--dry-run"),
        ("diagnose", "--json", "s3://bucket/report.json", "model.keras"),
    ],
    ids=" ".join,
)
def test_a_url_is_no_path(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert "must be a path on this machine: mount the storage as a folder" in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_needs_a_network_ends_with_one_sentence(capsys, monkeypatch, tmp_path):
    def offline():
        raise OSError("no route to host")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", offline)
    (line,) = refused(capsys, "compare", "--data", "cifar10", "--out", tmp_path / "out").splitlines()
    assert "error: cifar10 could not be downloaded" in line
    assert not (tmp_path / "out").exists()


def test_a_study_of_which_every_trial_fails_is_an_error(capsys, options, tmp_path):
    (tmp_path / "own.py").write_text("def build(initializer):\n    raise OSError('no weights here')\n")
    error = refused(capsys, *COMPARE, *options, "--model", tmp_path / "own.py:build")
    records = f"recorded in {tmp_path / 'out' / 'trials'}"
    assert error.endswith(f"error: 4 of 4 trials failed ({records}): OSError: no weights here\n")
    restarts = ["restarts", *options, "--model", tmp_path / "own.py:build", "--out", tmp_path / "restarts"]
    assert refused(capsys, *restarts).endswith("/trials): OSError: no weights here\n")


def test_a_file_may_register_an_initializer(capsys, tmp_path, monkeypatch):
    def compared(build, initializers, data, **options):
        raise RuntimeError(f"asked for {initializers}")

    monkeypatch.setattr(studies, "compare_initializers", compared)
    own = "class HeNormall(keras.initializers.HeNormal):\n    pass\n\n"
    register = f'@keras.saving.register_keras_serializable("mine")\n{own}'
    (tmp_path / "own.py").write_text(OWN.replace("def build", f"{register}def build"))
    command = ["compare", "--model", f"{tmp_path / 'own.py'}:build", "--initializers", "mine>HeNormall"]
    error = refused(capsys, *command, "--out", tmp_path / "out")
    assert error.endswith("asked for {'mine>HeNormall': 'mine>HeNormall'}\n")


def test_a_model_is_no_function_that_builds_one(capsys, options, tmp_path):
    (tmp_path / "own.py").write_text("import keras\nmodel = keras.Sequential()\n")
    error = refused(capsys, *COMPARE, *options, "--model", tmp_path / "own.py:model")
    assert "own.py has no function 'model' to use: `build` must be a function" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("blank_figures")
def test_a_study_of_which_some_trials_fail_is_no_error(capsys, options, tmp_path):
    begin = "def build(initializer):\n"
    zeros = "    if isinstance(keras.initializers.get(initializer), keras.initializers.Zeros):\n        raise OSError\n"
    (tmp_path / "own.py").write_text(OWN.replace(begin, begin + zeros))
    assert cli.main([*COMPARE, *options, "--model", f"{tmp_path / 'own.py'}:build"]) == 0
    assert "zeros: 2 of 2 trials" in capsys.readouterr().out


def test_lengths_that_differ_are_an_error(capsys, options, tmp_path):
    np.savez(tmp_path / "short.npz", x_train=np.ones((5, 2)), y_train=[0, 1], x_test=np.ones((2, 2)), y_test=[0, 1])
    error = refused(capsys, *COMPARE, *options, "--data", tmp_path / "short.npz")
    assert "must have one label for each input" in error
    assert "x_train of shape (5, 2), y_train of shape (2,)" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("blank_figures")
def test_other_arguments_for_one_folder_are_an_error(capsys, options):
    cli.main([*COMPARE, *options])
    error = refused(capsys, *COMPARE, *options, "--seed", "1")
    assert "contains a run with other settings. Received: seed=1, there 0" in error


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
@pytest.mark.usefixtures("blank_figures")
def test_a_closed_pipe_ends_a_study_quietly(options, monkeypatch):
    with streams.without_reader() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main([*COMPARE, *options]) == 141


def test_there_is_nothing_to_report(capsys, tmp_path):
    assert "study.json" in refused(capsys, "report", tmp_path)


def test_a_missing_extra_is_named(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "install with `pip install joblib matplotlib rich scipy scikit-learn`" in refused(capsys, "compare")
