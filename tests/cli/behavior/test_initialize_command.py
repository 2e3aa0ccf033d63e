"""`python -m keras_initx initialize` on models that have been saved."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx import weights_digest
from keras_initx.cli import _main as cli


@pytest.fixture
def path(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="logits")])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def refused(capsys, *arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["initialize", *map(str, arguments)])
    return capsys.readouterr().err


def test_a_saved_model_is_drawn_anew(path, tmp_path, capsys):
    (tmp_path / "rules.json").write_text(json.dumps({"hidden/kernel": "initx.orthogonal", "logits/*": None}))
    out = tmp_path / "new.keras"
    arguments = [str(path), "--rules", str(tmp_path / "rules.json"), "--seed", "7", "--out", str(out)]
    assert cli.main(["initialize", *arguments]) == 0
    new, expected = keras.saving.load_model(out), keras.saving.load_model(path)
    keras_initx.initialize(expected, {"hidden/kernel": "initx.orthogonal", "logits/*": None}, seed=7)
    assert weights_digest(new) == weights_digest(expected)
    assert (type(new.optimizer).__name__, new.loss) == ("Adam", "mse")
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert "Orthogonal()" in printed
    assert f"Digest of the weights: {weights_digest(new)}. Saved to {out}." in printed


def test_zero_is_a_seed(path, tmp_path, capsys):
    out, page = tmp_path / "new.h5", tmp_path / "plan.html"
    arguments = ["--seed", "0", "--out", str(out), "--html", str(page)]
    assert cli.main(["initialize", str(path), *arguments]) == 0
    expected = keras.saving.load_model(path)
    keras_initx.initialize(expected, seed=0)
    assert f"Digest of the weights: {weights_digest(expected)}. Saved to {out}." in capsys.readouterr().out
    assert f"<title>Initialization of {path}</title>" in page.read_text()


def test_a_recipe_is_taken_instead_of_rules(path, tmp_path, capsys):
    assert cli.main(["initialize", str(path), "--recipe", "spectral", "--dry-run"]) == 0
    assert "Orthogonal(" in capsys.readouterr().out
    assert "not allowed with" in refused(capsys, path, "--recipe", "selu", "--rules", "{}", "--dry-run")
    assert "must be a decoder with gated" in refused(capsys, path, "--recipe", "llama", "--dry-run")


def test_rules_may_begin_with_a_space(path, capsys):
    assert cli.main(["initialize", str(path), "--rules", ' {"hidden/kernel": "zeros"}', "--dry-run"]) == 0
    assert "Zeros()" in capsys.readouterr().out


def test_a_model_that_was_never_trained_keeps_how_it_is_compiled(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    assert cli.main(["initialize", str(tmp_path / "model.keras"), "--out", str(tmp_path / "new.keras")]) == 0
    assert capsys.readouterr().err == ""
    assert keras.saving.load_model(tmp_path / "new.keras").loss == "mse"


def test_a_dry_run_saves_nothing(path, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert cli.main(["initialize", str(path), "--dry-run"]) == 0
    assert "4 of 4 weights to be drawn" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def own_loss(y, outputs):
    return keras.ops.mean(keras.ops.square(y - outputs))


def test_what_cannot_be_loaded_is_told(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    model.compile("adam", own_loss)
    model.save(tmp_path / "model.keras")
    assert cli.main(["initialize", str(tmp_path / "model.keras"), "--dry-run"]) == 0
    assert "Left out, because it cannot be loaded here: how the model is compiled (" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_rules_are_read_in_any_encoding_of_unicode(path, tmp_path, capsys, encoding):
    (tmp_path / "rules.json").write_text('{"*/kernel": "initx.orthogonal"}', encoding)
    assert cli.main(["initialize", str(path), "--rules", str(tmp_path / "rules.json"), "--dry-run"]) == 0
    assert "Orthogonal()" in capsys.readouterr().out


def test_what_is_wrong_is_one_sentence(path, tmp_path, capsys):
    (tmp_path / "rules.json").write_text("{")
    assert "rules.json is not JSON" in refused(capsys, path, "--rules", tmp_path / "rules.json", "--dry-run")
    (tmp_path / "rules.json").write_text('{"kernel": "zeros"}')
    assert "which matches none" in refused(capsys, path, "--rules", tmp_path / "rules.json", "--dry-run")
    assert "no.keras" in refused(capsys, tmp_path / "no.keras", "--dry-run")


def test_a_saved_plan_is_taken_as_rules(path, tmp_path, capsys):
    plan, first, second = tmp_path / "init.json", tmp_path / "first.keras", tmp_path / "second.keras"
    assert cli.main(["initialize", str(path), "--seed", "7", "--plan", str(plan), "--out", str(first)]) == 0
    assert cli.main(["initialize", str(path), "--rules", str(plan), "--out", str(second)]) == 0
    assert weights_digest(keras.saving.load_model(second)) == weights_digest(keras.saving.load_model(first))
    assert cli.main(["audit", str(second), "--rules", str(plan)]) == 0
    assert capsys.readouterr().out.endswith("4 of 4 weights are as the plan says.\n")
    assert cli.main(["audit", str(path), "--rules", str(plan)]) == 1
    message = "Leave out `seed`: a plan has its own seeds"
    assert message in refused(capsys, path, "--rules", plan, "--seed", "7", "--dry-run")


def test_a_file_of_weights_alone_is_no_place_for_a_model(path, tmp_path, capsys):
    error = refused(capsys, path, "--seed", "1", "--out", tmp_path / "new.weights.h5")
    assert ".weights.h5 is how Keras names files of weights alone, and this writes a whole model: use .keras" in error
    assert not (tmp_path / "new.weights.h5").exists()


@pytest.mark.parametrize("command", ["initialize", "audit", "contract", "diagnose"])
@pytest.mark.parametrize("source", ["import sys\ndef build(): sys.exit(1)", "import sys\nbuild = 1\nsys.exit(1)"])
def test_a_function_that_ends_the_program_is_an_error_of_the_command(command, source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ends.py").write_text(source)
    np.save(tmp_path / "x.npy", np.zeros((2, 4), "float32"))
    options = {"initialize": ["--dry-run"], "contract": ["--out", "c.json"], "diagnose": ["--data", "x.npy"]}
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main([command, "ends.py:build", *options.get(command, [])])
    assert "ended the program by `sys.exit(1)`" in capsys.readouterr().err


def test_a_function_to_compare_with_that_ends_the_program_is_an_error_too(path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ends.py").write_text("def build():\n    raise SystemExit(1)")
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["audit", str(path), "--like", "ends.py:build"])
    assert "ends.py:build ended the program by `sys.exit(1)`" in capsys.readouterr().err
