"""`python -m keras_initx audit` on models and arrays that have been saved."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx.cli import _main

RULES = '{"*kernel": "initx.he_normal"}'


@pytest.fixture
def path(tmp_path):
    """Return the path of a saved model with He's weights, where its layers declare Glorot's."""
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, name="hidden"), layers.Dense(40, name="last")])
    keras_initx.initialize(model, json.loads(RULES), seed=7)
    model.save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def test_a_model_that_is_as_the_rules_say(path, capsys):
    assert _main.main(["audit", path, "--rules", RULES]) == 0
    assert capsys.readouterr().out == "4 of 4 weights are as the rules say.\n"


def test_a_model_that_is_not_as_its_layers_say(path, capsys):
    assert _main.main(["audit", path]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 4 weights are not as their layers say."


def test_rules_in_a_file_and_a_seed(path, tmp_path, capsys):
    (tmp_path / "rules.json").write_text(RULES)
    assert _main.main(["audit", path, "--rules", str(tmp_path / "rules.json"), "--seed", "7"]) == 0
    assert _main.main(["audit", path, "--rules", str(tmp_path / "rules.json"), "--seed", "8"]) == 1


def test_a_recipe(tmp_path, capsys):
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, "selu", name="a"), layers.Dense(40, name="b")])
    model.save(tmp_path / "model.keras")
    assert _main.main(["audit", str(tmp_path / "model.keras"), "--recipe", "selu"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 4 weights are not as selu says."


def refused(capsys, *arguments, command="audit"):
    with pytest.raises(SystemExit, match=r"^2$"):
        _main.main([command, *arguments])
    return capsys.readouterr().err


def test_what_is_no_recipe(path, capsys):
    assert "no recipe is named 'gpt3'; did you mean gpt2?" in refused(capsys, path, "--recipe", "gpt3")


def test_the_report_is_written(path, tmp_path, capsys):
    files = {name: str(tmp_path / f"audit.{name}") for name in ("json", "html")}
    options = ["--json", files["json"], "--html", files["html"]]
    assert _main.main(["audit", path, *options]) == 1
    weights = json.loads((tmp_path / "audit.json").read_text())["rows"]
    assert [row["status"] for row in weights] == ["scale", "as expected", "scale", "as expected"]
    assert "<title>Audit of" in (tmp_path / "audit.html").read_text()


def test_arrays(path, tmp_path, capsys):
    plan = keras_initx.initialize(keras.saving.load_model(path), json.loads(RULES), seed=7, dry_run=True)
    plan.save(tmp_path / "plan.json")
    arrays = {weight.path: plan.draw(weight.path) for weight in plan.rows}
    np.savez(tmp_path / "arrays.npz", **arrays)
    np.savez(tmp_path / "other.npz", **{**arrays, "last/bias": np.ones(40, "float32")})
    expected = ["--rules", str(tmp_path / "plan.json")]
    assert _main.main(["audit", str(tmp_path / "arrays.npz"), *expected]) == 0
    assert _main.main(["audit", str(tmp_path / "other.npz"), *expected]) == 1
    for options in ([], ["--recipe", "selu"], ["--rules", RULES]):
        assert "`rules` must be a plan if `weights` are arrays" in refused(
            capsys, str(tmp_path / "arrays.npz"), *options
        )


PROGRAM = """
import keras_initx

def build(gain=1):
    layer = keras_initx.RandomNormal(0, 0.1 * gain)
    return {"hidden/kernel": layer((48, 64)), "last/kernel": layer((64, 40))}

def other():
    return build(gain=2)

def wrong():
    raise KeyError("a key")
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return str(tmp_path / "program.py")


MODELS = """
import keras

def build(std=0.05):
    kernel = keras.initializers.RandomNormal(stddev=std)
    layers = [keras.layers.Dense(64, kernel_initializer=kernel, name="hidden"), keras.layers.Dense(40, name="last")]
    model = keras.Sequential([keras.Input((48,)), *layers])
    model.compile("sgd", "mse")
    return model

def other():
    return build(std=0.1)
"""


def test_a_function_is_taken_where_a_file_is(tmp_path, capsys):
    (tmp_path / "models.py").write_text(MODELS)
    build, other, contract = (f"{tmp_path}/models.py:build", f"{tmp_path}/models.py:other", str(tmp_path / "w.json"))
    assert _main.main(["contract", build, "--out", contract]) == 0
    assert _main.main(["audit", build, "--like", contract]) == 0
    assert _main.main(["audit", other, "--like", build]) == 1
    assert _main.main(["audit", build]) == 0
    np.savez(tmp_path / "data.npz", x=np.ones((20, 48)), y=np.ones((20, 40)))
    reports = []
    for _ in range(2):
        capsys.readouterr()
        assert _main.main(["diagnose", build, "--data", str(tmp_path / "data.npz")]) in (0, 1)
        reports.append(capsys.readouterr().out)
    assert "gradient" in reports[0]
    assert reports[0] == reports[1]  # the model is made with the same seed
    saved = str(tmp_path / "model.keras")
    assert _main.main(["initialize", build, "--rules", RULES, "--seed", "1", "--out", saved]) == 0
    assert _main.main(["audit", saved, "--like", build]) == 1


def test_a_contract_of_a_function(program, tmp_path, capsys):
    contract, found = str(tmp_path / "weights.json"), str(tmp_path / "other.json")
    assert _main.main(["contract", f"{program}:build", "--out", contract, "--draws", "2"]) == 0
    assert capsys.readouterr().out.endswith("\n\n2 weights of 2 draws: 2 random.\n")
    assert _main.main(["contract", f"{program}:other", "--out", found, "--draws", "1", "--seed", "1"]) == 0
    assert _main.main(["audit", contract, "--like", contract]) == 0
    capsys.readouterr()
    assert _main.main(["audit", found, "--like", contract]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 weights are not as in the contract."


def test_a_contract_and_a_plan_as_the_other_option(path, tmp_path, capsys):
    plan, contract = str(tmp_path / "plan.json"), str(tmp_path / "weights.json")
    assert _main.main(["initialize", path, "--rules", RULES, "--dry-run", "--plan", plan]) == 0
    assert _main.main(["contract", path, "--out", contract]) == 0
    assert "pass it as `like`. Received: rules=<Contract: 4" in refused(capsys, path, "--rules", contract)
    assert 'has the "format": "keras_initx plan"' in refused(capsys, path, "--like", plan)


def test_two_files(path, tmp_path, capsys):
    before = keras.saving.load_model(path)
    before.layers[0].bias.assign(np.ones(64))
    before.save(tmp_path / "before.keras")
    other = ["--like", str(tmp_path / "before.keras")]
    assert _main.main(["audit", path, *other]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("hidden/bias")
    assert "1 of 4 weights is not as in before.keras. The same bit for bit: 3 of 4." in " ".join(lines)


def test_what_a_contract_is_not_made_from(path, program, tmp_path, capsys):
    for arguments, message in (
        ((program,), "a function must have the form FILE.py:FUNCTION"),
        ((f"{program}:gone",), "has no function 'gone'"),
        ((f"{program}:wrong",), "KeyError: 'a key'"),
        ((f"{tmp_path}/gone.py:build",), "no such file or folder"),
        ((f"{program}:build", "--out", program), f"--out must be a file of its own. Received: {program}"),
        ((path, "--out", path), f"--out must be a file of its own. Received: {path}"),
    ):
        assert message in refused(capsys, *arguments, command="contract")
    assert (tmp_path / "program.py").read_text() == PROGRAM


@pytest.mark.parametrize(
    "source",
    [
        "import builders as b\n\nglobals()['bu' + 'ild'] = b.build",
        "from builders import *",
        "from builders import build",
        "import builders\n\nif True:\n    build = builders.build",
    ],
)
def test_a_function_may_get_its_name_in_any_way(tmp_path, source):
    network = "keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])"
    (tmp_path / "builders.py").write_text(f"import keras\n\n\ndef build():\n    return {network}\n")
    (tmp_path / "program.py").write_text(source)
    assert _main.main(["audit", f"{tmp_path}/program.py:build"]) == 0


def test_the_file_of_a_function_may_register_an_id_for_rules(tmp_path, monkeypatch):
    monkeypatch.setitem(keras.saving.get_custom_objects(), "initx.mine", None)  # and removed afterward
    register = "keras.saving.get_custom_objects()['initx.mine'] = keras.initializers.HeNormal"
    network = "keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])"
    (tmp_path / "program.py").write_text(f"import keras\n\n{register}\n\n\ndef build():\n    return {network}\n")
    rules = '{"*kernel": "initx.mine"}'
    assert _main.main(["initialize", f"{tmp_path}/program.py:build", "--rules", rules, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("lama", "no recipe is named 'lama'; did you mean llama?"),
        ("Bert:google", "no recipe is named 'Bert'; did you mean bert?"),
        ("paper", "no recipe is named 'paper'; there are bert, convnext, "),
    ],
)
def test_a_recipe_that_there_is_not_is_refused_before_the_model_is_opened(recipe, message, tmp_path, capsys):
    (tmp_path / "model.keras").touch()
    assert message in refused(capsys, str(tmp_path / "model.keras"), "--recipe", recipe)


def test_a_function_that_the_file_has_not_is_refused_with_those_like_it(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def built():\n    pass\n")
    error = refused(capsys, f"{tmp_path / 'mine.py'}:build")
    assert "has no function 'build'; did you mean built?" in error
