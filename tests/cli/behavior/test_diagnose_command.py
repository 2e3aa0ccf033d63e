"""`python -m keras_initx diagnose` on models that have been saved."""

import json
import runpy
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import streams
from keras import layers

from keras_initx import demo
from keras_initx.cli import _main as cli

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 32)).astype("float32")
Y = GENERATOR.integers(0, 5, 64)


def save(folder, kernel="glorot_uniform", **arguments):
    """Save a network of three layers and return the path."""
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, "tanh", kernel_initializer=kernel) for _ in range(2)]
    model = keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(5, "softmax")])
    if arguments:
        model.compile(**arguments)
    model.save(folder / "model.keras")
    return str(folder / "model.keras")


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return tmp_path


def refused(capsys, *arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["diagnose", *map(str, arguments)])
    return capsys.readouterr().err


def test_healthy_models_end_with_0(data, capsys):
    assert cli.main(["diagnose", save(data), "--data", str(data / "x.npy")]) == 0
    assert capsys.readouterr().out.endswith("\n\nNo problem found.\n")


def test_the_exit_code_is_that_of_the_process(data, monkeypatch, capsys):
    model = save(data, "zeros")
    monkeypatch.setattr(sys, "argv", ["keras_initx", "diagnose", model, "--data", str(data / "x.npy")])
    monkeypatch.delitem(sys.modules, "keras_initx.__main__", raising=False)  # where another test has imported it
    with pytest.raises(SystemExit, match=r"^1$"):
        runpy.run_module("keras_initx", run_name="__main__")
    printed = capsys.readouterr()
    assert "\nequal units (" in printed.out
    assert "\x1b" not in printed.out + printed.err


def test_labels_give_gradients(data, capsys):
    path = save(data, optimizer="sgd", loss="sparse_categorical_crossentropy")
    arguments = ["diagnose", path, "--data", str(data / "x.npy"), "--labels", str(data / "y.npy")]
    assert cli.main(arguments) == 0
    assert "gradient" in capsys.readouterr().out.splitlines()[0]


def test_labels_may_be_in_the_file_of_the_data(data, capsys):
    np.savez(data / "both.npz", x=X, y=Y)
    loss = ("--loss", "sparse_categorical_crossentropy")
    assert cli.main(["diagnose", save(data), "--data", str(data / "both.npz"), *loss]) == 0
    assert "gradient" in capsys.readouterr().out.splitlines()[0]


def test_an_input_may_be_called_x(data, capsys):
    one, two = keras.Input((4,), name="x"), keras.Input((3,), name="z")
    keras.Model({"x": one, "z": two}, layers.Dense(8)(layers.Concatenate()([one, two]))).save(data / "two.keras")
    np.savez(data / "two.npz", x=X[:, :4], z=X[:, :3])
    assert cli.main(["diagnose", str(data / "two.keras"), "--data", str(data / "two.npz")]) == 0


def test_files_are_written(data, capsys):
    suffixes = {"json": "json", "markdown": "md", "html": "html"}
    files = {option: data / f"report.{suffix}" for option, suffix in suffixes.items()}
    options = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    assert cli.main(["diagnose", save(data), "--data", str(data / "x.npy"), *options]) == 0
    assert json.loads(files["json"].read_text())["ok"] is True
    assert files["markdown"].read_text().startswith("**Diagnosis")
    page = files["html"].read_text()
    assert f"<title>Diagnosis of {data / 'model.keras'}</title>" in page
    made_by = f"Keras {keras.__version__} on {keras.backend.backend()}"
    legend = "before: standard deviation before the activation."
    for part in ("No problem found.", made_by, legend, "<img ", "prefers-color-scheme: dark"):
        assert part in page


def test_what_is_ignored_and_the_batch_size_are_options(data, capsys):
    options = ["--ignore", "equal units", "--ignore", "dead units", "--batch-size", "16"]
    path = data / "report.json"
    model = save(data, "zeros")
    assert cli.main(["diagnose", model, "--data", str(data / "x.npy"), "--json", str(path), *options]) == 0
    report = json.loads(path.read_text())
    assert report["verdicts"] == []
    assert report["rows"][0]["shape"] == [16, 32]


def test_steps_are_taken_with_the_optimizer_of_the_model(data, capsys):
    path = save(data, optimizer="adam", loss="sparse_categorical_crossentropy")
    arguments = ["--data", str(data / "x.npy"), "--labels", str(data / "y.npy"), "--steps", "3"]
    assert cli.main(["diagnose", path, *arguments]) == 0
    assert "in 3 steps." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the following arguments are required: --data"),
        (
            ["--data", "x.npy", "--labels", "y.npy"],
            "gradients need --loss, because the model is not compiled with a loss",
        ),
        (["--data", "text.csv"], "cannot read data: text.csv is not a .npy or .npz file of numeric arrays"),
        (["--data", "empty.npy"], "cannot read data: empty.npy is not a .npy or .npz file"),
        (["--data", "cut.npz"], "cannot read data: cut.npz is not a .npy or .npz file"),
        (["--data", "half.npz"], "cannot read data: half.npz must contain only arrays of numbers"),
        (["--data", "x.npy", "--labels", "words.npy"], "cannot read data: words.npy must contain only arrays of nu"),
        (["--data", "model.keras"], "cannot read data: model.keras must contain only arrays of numbers"),
        (
            ["--data", "x.npy", "--labels", "two.npz"],
            "cannot read data: two.npz has more than one array: the labels must be a .npy",
        ),
        (
            ["--data", "narrow.npy"],
            "`x` must have the shape (None, 32), as the model's inputs. Received: x of shape (64, 3)",
        ),
        (["--data", "x.npy", "--json", "no such folder/report.json"], "cannot write: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_used_is_an_error(data, capsys, monkeypatch, options, message):
    path = save(data)
    monkeypatch.chdir(data)
    Path("text.csv").write_text("1,2,3")
    Path("empty.npy").write_bytes(b"")
    Path("cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.save("words.npy", np.array(["one", "two"]))
    np.savez("half.npz", x=X, y=np.array(["one", "two"]))
    np.save("narrow.npy", X[:, :3])
    np.savez("two.npz", x=X, y=Y)
    assert message in refused(capsys, path, *options)


def test_a_file_that_is_no_model_is_an_error(data, capsys):
    assert "cannot diagnose " in refused(capsys, data / "x.npy", "--data", data / "x.npy")


def test_labels_twice_are_an_error(data, capsys):
    np.savez(data / "both.npz", x=X, y=Y)
    message = refused(capsys, save(data), "--data", data / "both.npz", "--labels", data / "y.npy")
    assert "use only one of the two" in message


@pytest.fixture
def elsewhere(data):
    """Return the path of a compiled model whose optimizer is of a class that is not there."""
    path = Path(save(data, optimizer="sgd", loss="sparse_categorical_crossentropy"))
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    config = json.loads(content["config.json"])
    config["compile_config"]["optimizer"] |= {"module": "keras.src.backend.elsewhere", "class_name": "SGD"}
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, value in content.items():
            file.writestr(name, value)
    return str(path)


def test_a_model_is_read_where_what_it_was_compiled_with_is_not(data, elsewhere, capsys):
    arguments = ["diagnose", elsewhere, "--data", str(data / "x.npy")]
    assert cli.main(arguments) == 0
    loss = ["--labels", str(data / "y.npy"), "--loss", "sparse_categorical_crossentropy"]
    assert cli.main([*arguments, *loss]) == 0
    assert "gradient" in capsys.readouterr().out


@pytest.mark.parametrize(("level", "code"), [("warning", 0), ("note", 1)])
def test_the_level_at_which_to_fail_is_an_option(data, capsys, level, code):
    out = layers.Dense(5, kernel_initializer="zeros")
    keras.Sequential([keras.Input((32,)), layers.Dense(32, "tanh"), out]).save(data / "noted.keras")
    arguments = ["diagnose", str(data / "noted.keras"), "--data", str(data / "x.npy"), "--fail-on", level]
    assert cli.main(arguments) == code
    assert "No problem found.\n\nequal units (note): " in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
def test_a_closed_pipe_is_no_file_that_cannot_be_written(data, monkeypatch):
    with streams.without_reader() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["diagnose", save(data), "--data", str(data / "x.npy")]) == 141


def test_pickles_are_not_read(data, capsys):
    np.save(data / "objects.npy", np.array([{}], dtype=object))
    assert "cannot read data: " in refused(capsys, save(data), "--data", data / "objects.npy")


def test_progress_is_shown_on_a_terminal(data, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["diagnose", save(data), "--data", str(data / "x.npy")]) == 0
    assert "Measured " in capsys.readouterr().err


BATCH = """
import numpy as np

def batch():
    draws = np.random.default_rng(0)
    return draws.normal(size=(64, 32)), draws.integers(0, 5, 64)

def inputs():
    return batch()[0]

def dataset():
    yield batch()

def broken():
    raise KeyError("no such column")
"""


@pytest.fixture
def batches(tmp_path):
    """The path of a file with functions that return data."""
    (tmp_path / "batches.py").write_text(BATCH)
    return tmp_path / "batches.py"


@pytest.mark.rare
@pytest.mark.parametrize(("function", "has_gradients"), [("inputs", False), ("batch", True), ("dataset", True)])
def test_data_may_be_what_a_function_returns(batches, capsys, function, has_gradients):
    path = save(batches.parent, optimizer="sgd", loss="sparse_categorical_crossentropy")
    assert cli.main(["diagnose", path, "--data", f"{batches}:{function}"]) == 0
    assert ("gradient" in capsys.readouterr().out.splitlines()[0]) is has_gradients


def test_a_function_and_the_option_of_the_labels_are_refused(batches, data, capsys):
    error = refused(capsys, save(data), "--data", f"{batches}:batch", "--labels", data / "y.npy")
    assert error.endswith("error: --labels must be left out if a function returns the batch\n")


def test_what_a_function_of_data_raises_is_an_error_of_the_command(batches, capsys):
    error = refused(capsys, save(batches.parent), "--data", f"{batches}:broken")
    assert error.endswith("error: cannot read data: 'no such column'\n")


def test_labels_of_a_function_need_a_loss(batches, capsys):
    error = refused(capsys, save(batches.parent), "--data", f"{batches}:batch")
    assert "`loss` is required with `y`" in error


def test_the_example_of_the_readme_is_a_model_and_a_batch(capsys):
    file = Path(demo.__file__)
    assert cli.main(["diagnose", f"{file}:forty_layers", "--data", f"{file}:digits"]) == 1
    assert "\nvanishing (warning): " in capsys.readouterr().out
