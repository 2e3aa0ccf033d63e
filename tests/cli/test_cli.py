"""The command line."""

import argparse
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streams
from matplotlib.figure import Figure
from modes import to_numpy

import keras_initx
from keras_initx import _startup, cli
from keras_initx._kernel import library
from keras_initx.cli import _catalog, _options, _parser
from keras_initx.recipes._named import RECIPES

DRAWS = "the compiled kernel" if library() else "NumPy"
VERSION = f"keras_initx {keras_initx.__version__}, draws on the host by {DRAWS}\n"


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])
    assert capsys.readouterr().out == VERSION


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in ("list", "show", "contract"))


def refused(capsys, *arguments):
    """Return the error that the command ends with."""
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    return capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["list", "nonsense"], ["show"]], ids=" ".join)
def test_wrong_arguments_are_an_error_of_one_line(capsys, arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m keras_initx")


def test_arguments_are_read_before_anything_large_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "keras_initx", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == VERSION
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "keras_initx.cli._main" in imported
    assert not imported & {"jax", "keras", "keras_initx.initializers", "numpy", "tensorflow", "torch"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("initialize pyproject.toml", "one of the arguments --out --dry-run is required"),
        ("initialize pyproject.toml --out a.keras --dry-run", "--dry-run: not allowed with argument --out"),
        ("initialize pyproject.toml --out model.npz", "--out: must end in one of ('.keras', '.h5', '.hdf5')"),
        ("initialize pyproject.toml --dry-run --rules nowhere.json", "no such file or folder: nowhere.json"),
        ("shwo sparse", "no command is named 'shwo'; did you mean show?"),
        ("diagnose nowhere.keras", "no such file or folder: nowhere.keras"),  # and not that there is no --data
        ("diagnose pyproject.toml --data nowhere.npy", "no such file or folder: nowhere.npy"),
        ('show sparse --config {"gain":1,"gain":2}', "has the key 'gain' twice"),
        ('show sparse --config {"gain":Infinity}', "has the number Infinity, which is not finite"),
        ("show he_norml", "no initializer is named 'he_norml'; did you mean HeNormal?"),
        ("show constan", "no initializer is named 'constan'; `list` shows all ids."),
        ("audit pyproject.toml --rules {", "{ is not JSON"),
        ('initialize pyproject.toml --dry-run --rules {"*":{"stddev":NaN}}', "has the number NaN, which is not finite"),
        (
            'audit pyproject.toml --rules {"*":"initx.spars"}',
            "no initializer is named 'initx.spars'; did you mean Sparse?",
        ),
        ("diagnose noxfile.py:tets --data pyproject.toml", "has no function 'tets'; did you mean tests or run_tests?"),
        ("audit README.md.py:build", "no such file or folder: README.md.py"),
        ("initialize noxfile.py:tests --dry-run --recipe lama", "no recipe is named 'lama'; did you mean llama?"),
        ("audit pyproject.toml --recipe Bert:google", "no recipe is named 'Bert'; did you mean bert?"),
        ("audit pyproject.toml --recipe paper", "no recipe is named 'paper'; there are bert, convnext, "),
    ],
)
def test_options_and_files_are_checked_before_keras_is_imported(capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(Path(__file__).parents[2])  # where there is a file to read
    monkeypatch.setattr(_startup, "use_installed_backend", lambda: pytest.fail("Keras is imported"))
    assert message in refused(capsys, *arguments.split())


@pytest.mark.parametrize("recipe", ["bert:transformers", "pyproject.toml"])
def test_a_source_and_a_file_may_be_a_recipe(capsys, monkeypatch, recipe):
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(_startup, "use_installed_backend", lambda: importlib.import_module("reached"))
    command = ["initialize", "noxfile.py:tests", "--dry-run", "--recipe", recipe]
    assert "No module named 'reached'" in refused(capsys, *command)


def test_the_names_of_the_recipes_are_known_without_keras():
    assert _options.recipe_names() == sorted(RECIPES)


@pytest.mark.parametrize(
    "arguments",
    [
        "initialize --out s3://bucket/model.keras model.keras",
        "initialize s3://bucket/model.keras --dry-run",
        "diagnose --json s3://bucket/report.json model.keras",
    ],
)
def test_a_url_is_no_path(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert "must be a path on this machine: mount the storage as a folder" in refused(capsys, *arguments.split())
    assert list(tmp_path.iterdir()) == []


def options_that_write():
    """Return the command and the options of each pair of options that write a file."""
    (commands,) = [action.choices for action in _parser.build()._actions if action.choices]
    pairs = []
    for name, command in commands.items():
        outputs = [action.option_strings[0] for action in command._actions if writes(action)]
        pairs += [(name, *pair) for pair in itertools.combinations(outputs, 2)]
    return pairs


def writes(action):
    return action.type in (_options.output_path, _options.plot_path, _options.saved_model)


PAIRS = options_that_write()
REQUIRED = {"diagnose": ["in.keras", "--data", "x.npy"], "initialize": ["in.keras"], "audit": ["in.keras"]}


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Work in a folder with files to read, without Keras."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_startup, "use_installed_backend", lambda: pytest.fail("Keras is imported"))
    for name in ("in.keras", "x.npy"):
        (tmp_path / name).touch()
    (tmp_path / "rules.keras").write_text("{}")
    return tmp_path


def assert_one_file_is_refused(capsys, command, one, other, spelling):
    required = REQUIRED[command]
    if (one, other) == ("--plan", "--html"):
        required = [*required, "--dry-run"]
    error = refused(capsys, command, *required, one, "out.keras", other, spelling)
    assert re.search(rf"error: {other} must be a file of its own. Received: \S+, the file of {one}\n$", error)
    assert not os.path.exists("out.keras")


@pytest.mark.parametrize("command", REQUIRED)
def test_two_outputs_are_two_files(capsys, inputs, command):
    for of, one, other in PAIRS:
        if of == command:
            assert_one_file_is_refused(capsys, command, one, other, "out.keras")


@pytest.mark.parametrize("spelling", ["folder/../out.keras", "link.keras"])
def test_two_outputs_are_two_files_in_any_spelling(capsys, inputs, spelling):
    (inputs / "folder").mkdir()
    (inputs / "link.keras").symlink_to("out.keras")
    assert_one_file_is_refused(capsys, "initialize", "--out", "--html", spelling)


@pytest.mark.parametrize(
    "arguments",
    [
        "initialize in.keras --out new.keras --plan ./in.keras",
        "initialize in.keras --dry-run --rules rules.keras --html rules.keras",
        "diagnose in.keras --data in.keras --labels x.npy --csv x.npy",
        "audit in.keras --html in.keras",
    ],
)
def test_an_output_is_no_input(capsys, inputs, arguments):
    error = refused(capsys, *arguments.split())
    assert re.search(r"error: --\w+ must be a file of its own. Received: \S+, which the command reads\n$", error)


@pytest.mark.skipif(sys.platform == "win32", reason="there is another null device")
def test_a_device_takes_several_outputs():
    options = {"json": _options.Output(os.devnull), "csv": _options.Output(os.devnull), "model": Path(os.devnull)}
    _options.refuse_shared_files(_parser.build(), argparse.Namespace(**options))


@pytest.mark.parametrize("error", [ImportError("no h5py"), ValueError("Unable to import backend : mxnet")], ids=str)
def test_what_keras_raises_when_it_is_imported_is_an_error(capsys, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(_startup, "use_installed_backend", fail)
    assert refused(capsys, "list").endswith(f"error: Keras cannot be imported: {error}\n")


@pytest.mark.parametrize(("script", "starts"), [("/bin/initx", True), ("initx.exe", True), ("initx.py", False)])
def test_the_installed_command_is_known_by_its_name(monkeypatch, script, starts):
    monkeypatch.setattr(sys, "argv", [script, "list"])
    assert _startup.is_starting() is starts
    assert _startup.program() == ("initx" if starts else "python -m keras_initx")


def test_keras_that_does_not_start_is_an_error(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_initx.initializers", None)
    assert "error: Keras cannot be imported: import of keras_initx.initializers halted" in refused(capsys, "list")


def test_no_backend_is_an_error(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "error: Keras cannot be imported: Keras needs one of the backends" in refused(capsys, "list")


def written_to(output, errors=subprocess.PIPE, option="--help"):
    """Return the exit code and the errors of a command that writes to the file of this descriptor."""
    command = [sys.executable, "-m", "keras_initx", option]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    result = subprocess.run(command, env=environment, stdout=output, stderr=errors, text=True)
    return result.returncode, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
def test_a_closed_pipe_ends_a_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    assert written_to(writer) == (141, "")
    os.close(writer)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_disk_ends_a_command_with_an_error():
    with open("/dev/full", "w") as full:
        assert written_to(full) == (2, "python -m keras_initx: error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("option", ["--help", "--nonsense"])
def test_errors_may_be_written_to_the_full_disk_too(option):
    with open("/dev/full", "w") as full:
        assert written_to(full, full, option) == (2, None)


def test_signs_that_an_encoding_lacks_are_escaped(monkeypatch):
    stdout = streams.encoded("ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["list"]) == 0
    text = _catalog.by_family().replace("\n", os.linesep)
    assert stdout.buffer.getvalue() == text.encode("ascii", "backslashreplace")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(capsys, monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert cli.main(["list"]) == 0
    with getattr(sys, name) as opened:
        assert opened.name == os.devnull


def test_an_error_that_nobody_foresaw_is_no_problem_that_was_found(capsys, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(keras_initx.Sparse, "__call__", fail)
    assert refused(capsys, "show", "sparse").startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("arguments", "required"),
    [
        ("show sparse --seed -1", "integer in [0, 2**32)"),
        ("show sparse --seed 4294967296", "integer in [0, 2**32)"),
        ("diagnose --batch-size 0", "positive integer"),
        ("diagnose --steps -1", "non-negative integer"),
        ("audit --alpha 0", "positive number"),
        ("audit --alpha inf", "positive number"),
    ],
)
def test_a_number_out_of_range_is_an_error_that_names_the_option(capsys, arguments, required):
    option, value = arguments.split()[-2:]
    error = refused(capsys, *arguments.split())
    assert error.endswith(f"error: argument {option}: invalid {required} value: '{value}'\n")


def test_an_interrupt_ends_a_command_quietly(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras_initx.Sparse, "__call__", interrupted)
    assert cli.main(["show", "sparse"]) == 130
    assert capsys.readouterr().err == ""


def shown(capsys, *arguments):
    """Return what `show` says."""
    assert cli.main(["show", *arguments]) == 0
    return capsys.readouterr().out


def figure(text, name):
    """Return the figure of this name that `show` has written, in one line or several."""
    lines = re.search(rf"^{name} +(.*(?:\n {{6,}}.*)*)$", text, re.MULTILINE)[1]
    return " ".join(lines.split())


def test_list_is_the_catalog_by_family_in_100_columns(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    titles = [title for title, _ in _catalog.families()]
    assert titles[:3] == ["Variance", "Biases", "Convolution"]
    assert [line for line in lines if line in titles] == titles
    words = {line.partition(" ")[0] for line in lines}
    assert words >= {name for entry in keras_initx.catalog() for name in (*entry.ids, entry.cls.__name__)}


def test_list_writes_markdown(capsys):
    assert cli.main(["list", "--markdown"]) == 0
    assert capsys.readouterr().out == keras_initx.catalog().table("`").as_markdown()


# With arguments that are required, for kernels, for biases, and with several ids.
SHOWN = ("pretrained", "he_normal", "lstm_forget_bias", "sparse")


@pytest.mark.parametrize("name", SHOWN)
def test_show_says_what_the_catalog_says(capsys, name):
    (entry,) = (entry for entry in keras_initx.catalog() if f"initx.{name}" in entry.ids)
    text = shown(capsys, entry.ids[-1])
    arguments = inspect.signature(entry.cls).parameters.values()
    required = [f'"{argument.name}": ...' for argument in arguments if argument.default is argument.empty]
    if required:
        assert text.endswith(f"\nFor a sample, pass the required arguments: --config '{{{', '.join(required)}}}'\n")
    else:
        assert figure(text, "sample of").startswith(f"{entry.cls.__name__}(")
    assert figure(text, "ids") == ", ".join(entry.ids)
    assert figure(text, "class").startswith(f"keras_initx.{entry.cls.__name__}(")
    for name, expected in (("values", entry.formula), ("use", entry.use)):
        assert figure(text, name).replace(" ", "") == expected.replace(" ", "")
    assert entry.cls.__doc__.splitlines()[0] in text


@pytest.mark.parametrize("option", [["--shape", "4,4"], ["--config", "{}"]], ids=" ".join)
def test_a_sample_without_required_arguments_is_an_error(capsys, option):
    error = refused(capsys, "show", "pretrained", *option)
    assert "no sample of Pretrained: " in error
    assert "'path'" in error


@pytest.mark.parametrize("name", ["initx.sparse", "sparse", "Sparse"])
def test_show_takes_an_id_or_a_class(capsys, name):
    assert figure(shown(capsys, name), "ids") == "initx.sparse"


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("kaiming_normal_", "HeNormal"),
        ("trunc_normal_", "TruncatedNormal"),
    ],
)
def test_show_knows_names_of_other_libraries(capsys, name, cls):
    assert figure(shown(capsys, name), "class").startswith(f"keras_initx.{cls}(")


@pytest.mark.every_backend
def test_show_draws_what_it_is_told(capsys):
    text = shown(capsys, "sparse", "--shape", "3,3,16,32", "--config", '{"connections": 36}', "--seed", "5")
    values = to_numpy(keras_initx.Sparse(36, seed=5)((3, 3, 16, 32)))
    assert figure(text, "sample of") == repr(keras_initx.Sparse(36, seed=5))
    assert figure(text, "shape") == "(3, 3, 16, 32)"
    assert figure(text, "zeros") == "75.00%"
    expected = {
        "mean": values.mean(dtype="float64"),
        "std": values.std(dtype="float64"),
        "min": values.min(),
        "max": values.max(),
    }
    for name, value in expected.items():
        assert figure(text, name) == f"{value:.4g}"


def test_show_draws_values_that_are_not_finite(capsys, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((4, 3), np.nan))
    config = json.dumps({"path": str(tmp_path / "nan.npy")})
    text = shown(capsys, "pretrained", "--config", config, "--shape", "4,3")
    assert figure(text, "mean") == "nan"


def test_show_repeats_itself(capsys):
    first = shown(capsys, "he_normal")
    assert figure(first, "sample of") == "HeNormal(seed=0)"
    assert shown(capsys, "he_normal") == first
    assert shown(capsys, "he_normal", "--seed", "1") != first
    assert shown(capsys, "he_normal", "--seed", "1", "--config", '{"seed": 0}') == first


def test_show_draws_a_bias_as_a_vector(capsys):
    assert figure(shown(capsys, "relu_bias"), "shape") == "(384,)"


def test_show_finds_a_shape_that_suits(capsys):
    assert figure(shown(capsys, "he_normal"), "shape") == "(256, 128)"
    assert figure(shown(capsys, "he_normal", "--config", '{"input_axes": [0, 1, 2]}'), "shape") == "(3, 3, 64, 64)"


def test_show_says_why_no_shape_suits(capsys):
    error = refused(capsys, "show", "he_normal", "--config", '{"input_axes": [7]}')
    assert "no sample of HeNormal: `shape` must have every axis in `input_axes`, without repeats." in error
    assert "Received: shape=(256, 128), input_axes=[7]" in error


@pytest.mark.parametrize(
    ("shape", "received"),
    [
        ("8193,8192", "(8193, 8192), 0.25 GiB"),
        (f"{10**30}", f"({10**30},), 3.725e+21 GiB"),
    ],
)
def test_show_refuses_samples_that_take_too_much_memory(capsys, shape, received):
    error = refused(capsys, "show", "sparse", "--shape", shape)
    required = "`shape` must have at most 67108864 elements, 0.25 GiB of float32"
    assert f"no sample of Sparse: {required}. Received: shape={received}" in error


def test_memory_that_is_refused_is_an_error(capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise MemoryError("Unable to allocate 128. MiB")

    monkeypatch.setattr(keras_initx.Sparse, "__call__", refuse)
    assert "no sample of Sparse: Unable to allocate 128. MiB" in refused(capsys, "show", "sparse")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "8"], r"no sample of Sparse: `shape` must have at least 2 dimensions\. Received: shape=\(8,\)"),
        (["--config", '{"links": 3}'], r"no sample of Sparse: .* unexpected keyword argument 'links'"),
    ],
    ids=" ".join,
)
def test_show_names_what_does_not_suit(capsys, arguments, message):
    error = refused(capsys, "show", "sparse", *arguments)
    assert re.search(message, error)
    assert "use --config to set arguments, --shape to set the shape" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "3,x"], "a shape must be positive integers separated by commas, e.g. 3,3,16,32. Received: '3,x'"),
        (["--shape", "0,4"], "a shape must be positive integers separated by commas, e.g. 3,3,16,32. Received: '0,4'"),
        (["--config", "{connections: 3}"], "'{connections: 3}' is not JSON: "),
        (["--config", "[3]"], """a config must be a JSON object, e.g. '{"connections": 3}'. Received: '[3]'"""),
        (["--seed", "x"], "argument --seed: invalid integer in [0, 2**32) value: 'x'"),
    ],
    ids=" ".join,
)
def test_show_refuses_what_it_cannot_read(capsys, arguments, message):
    assert message in refused(capsys, "show", "sparse", *arguments)


def test_show_plots_values(capsys, tmp_path):
    path = tmp_path / "plot.SVG"
    shown(capsys, "sparse", "--plot", str(path))
    assert path.read_text().count('id="axes_') == 1


@pytest.fixture
def figures(monkeypatch):
    """Return a list of the figures that are drawn, of which empty files are written."""

    def kept(drawn, path, **options):
        found.append(drawn)
        Path(path).touch()

    found = []
    monkeypatch.setattr(Figure, "savefig", kept)
    return found


@pytest.mark.parametrize("count", [8, 9])
def test_few_values_are_shown_as_bars_and_many_in_a_histogram(capsys, figures, tmp_path, count):
    np.save(tmp_path / "bias.npy", np.repeat(np.arange(count), 2).astype("float32")[:-1])
    config = json.dumps({"path": str(tmp_path / "bias.npy")})
    shape = ["--shape", str(2 * count - 1)]
    shown(capsys, "pretrained", "--config", config, *shape, "--plot", str(tmp_path / "plot.png"))
    (axis,) = figures[0].axes
    heights = np.array([bar.get_height() for bar in axis.patches]) * (2 * count - 1)
    if count == 8:
        assert heights.tolist() == [2, 2, 2, 2, 2, 2, 2, 1]
        assert axis.get_title() == "Values"
    else:
        # One of 17 values is zero, twice.
        assert (len(heights), heights.sum()) == (60, 15)
        assert axis.get_title().startswith("Values other than zero (88.2% of all)\nmean 4.3, standard deviation 2.17")


def test_a_histogram_without_the_zeros_shows_shares_of_all_entries(capsys, figures, tmp_path):
    path = tmp_path / "plot.svg"
    text = shown(capsys, "sparse", "--shape", "40,8", "--plot", str(path))
    zeros = float(figure(text, "zeros").removesuffix("%")) / 100
    assert zeros == 0.75
    bars = figures[0].axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1 - zeros)


@pytest.mark.parametrize("name", ["plot.nonsense", "no such folder/plot.png"])
def test_a_plot_that_cannot_be_written_is_an_error(capsys, tmp_path, name):
    assert "cannot plot: " in refused(capsys, "show", "relu_bias", "--plot", str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_plot_needs_its_extra(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = refused(capsys, "show", "sparse", "--plot", str(tmp_path / "plot.png"))
    assert "matplotlib not found; install with `pip install matplotlib`" in error
