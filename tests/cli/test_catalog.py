"""The commands `list` and `show`."""

import importlib
import importlib.util
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from modes import to_numpy

import keras_initx
from keras_initx.cli import _catalog
from keras_initx.cli import _main as cli


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
    titles = [title for title, _ in _catalog.list_families()]
    assert titles[:3] == ["Variance", "Random", "Biases"]
    assert [line for line in lines if line in titles] == titles
    words = {line.partition(" ")[0] for line in lines}
    assert words >= {name for entry in keras_initx.catalog().values() for name in (*entry.ids, entry.cls.__name__)}


def test_list_writes_markdown(capsys):
    assert cli.main(["list", "--markdown"]) == 0
    assert capsys.readouterr().out == keras_initx.catalog().table("`").as_markdown()


# With arguments that are required, for kernels, for biases, and with several ids.
SHOWN = ("pretrained", "he_normal", "lstm_forget_bias", "sparse")


@pytest.mark.parametrize("name", SHOWN)
def test_show_says_what_the_catalog_says(capsys, name):
    (entry,) = (entry for entry in keras_initx.catalog().values() if f"initx.{name}" in entry.ids)
    text = shown(capsys, entry.ids[-1])
    arguments = inspect.signature(entry.cls).parameters.values()
    required = [f'"{argument.name}": ...' for argument in arguments if argument.default is argument.empty]
    if required:
        assert text.endswith(f"\nFor a sample, pass the required arguments:\n  --config '{{{', '.join(required)}}}'\n")
    else:
        assert figure(text, "sample of").startswith(f"{entry.cls.__name__}(")
    assert figure(text, "ids") == ", ".join(entry.ids)
    assert figure(text, "class").startswith(f"keras_initx.{entry.cls.__name__}(")
    for name, expected in (("values", entry.formula), ("use", entry.use.replace("`", ""))):
        assert figure(text, name).replace(" ", "") == expected.replace(" ", "")
    assert entry.cls.__doc__.splitlines()[0].replace("`", "") in " ".join(text.split())


def test_list_and_show_fit_80_columns_and_break_no_name(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "(fan_in + fan_out)" in listed
    texts = [listed, *(shown(capsys, name) for name in keras_initx.catalog())]
    for line in "\n".join(texts).splitlines():
        assert len(line) <= 80
        assert not line.endswith("_")
        assert "`" not in line


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
        (
            ["--shape", "8"],
            r"no sample of Sparse: .* 2 dimensions; `Sparse` is for a kernel, .* Received: shape=\(8,\)",
        ),
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
    from matplotlib.figure import Figure

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
