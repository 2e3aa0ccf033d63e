"""What the page of experiments says of signals and of symmetry, measured by its own scripts."""

import pytest

# The scripts come with the repository, not with the package.
ten_layers = pytest.importorskip("ten_layers")
symmetry = pytest.importorskip("symmetry")


def problems(report):
    return [verdict.problem for verdict in report.verdicts]


@pytest.fixture(scope="module")
def tanh():
    return ten_layers.measure("tanh")


@pytest.fixture(scope="module")
def relu():
    return ten_layers.measure("relu")


# The weights are the same everywhere, so these numbers are too, to rounding.
def test_small_weights_let_a_signal_vanish_in_tanh(tanh):
    assert tanh["0.01 N"].layers[-1].after.std < 1e-6
    assert problems(tanh["0.01 N"]) == ["vanishing"]


def test_large_weights_saturate_tanh(tanh):
    assert all(layer.saturated > 0.9 for layer in tanh["1.0 N"].layers)
    assert problems(tanh["1.0 N"]) == ["saturated"]


@pytest.mark.parametrize("name", ["Xavier", "Glorot", "sparse", "orthogonal"])
def test_tanh_keeps_its_spread(tanh, name):
    assert all(layer.after.std > 0.2 and layer.saturated < 0.12 for layer in tanh[name].layers)
    assert tanh[name].ok


def test_xavier_decays_in_relu(relu):
    spread = [layer.after.std for layer in relu["Xavier"].layers]
    assert spread[-1] < spread[0] / 20


@pytest.mark.parametrize("name", ["He", "sparse", "orthogonal"])
def test_relu_keeps_its_spread(relu, name):
    assert all(0.6 < layer.after.std < 1 for layer in relu[name].layers)
    assert relu[name].ok


@pytest.mark.parametrize(("name", "problem"), [("0.01 N", "vanishing"), ("1.0 N", "exploding")])
def test_fixed_sizes_fail_in_relu(relu, name, problem):
    assert problems(relu[name]) == [problem]


@pytest.mark.parametrize(
    ("name", "before", "after", "found"),
    [
        ("zeros", 1, 1, ["all-zero weights"]),
        ("constant 0.1", 1, 1, ["constant weights", "vanishing gradient"]),
        ("constant, random out", 32, 32, ["constant weights"]),
        ("small random", 32, 32, []),
    ],
)
def test_only_random_numbers_break_the_symmetry(name, before, after, found):
    distinct, accuracy, seen, _ = symmetry.train(*symmetry.STARTS[name], epochs=2)
    assert distinct == [before, after]
    assert seen == found
    assert (accuracy[-1] > 0.5) == (after > 1)


@pytest.mark.once
def test_ten_layers_prints_tables_and_writes_figures(tanh, relu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ten_layers, "measure", {"tanh": tanh, "relu": relu}.get)
    ten_layers.main(["--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ten_layers_relu.png", "ten_layers_tanh.png"]
    assert "0.01 N      vanishing from layer_5 on" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.parametrize("script", ["symmetry", "relu_bias"])
def test_scripts_write_a_figure(script, tmp_path, capsys):
    options = ["--repeats", "1"] if script == "relu_bias" else []
    pytest.importorskip(script).main(["--out", str(tmp_path), "--epochs", "1", *options])
    assert [path.name for path in tmp_path.iterdir()] == [f"{script}.png"]
    assert f"Figure: {script}.png" in capsys.readouterr().out
