"""The command `recipes`, and the option of this name."""

import textwrap

import pytest
from commands import refused

from keras_initx.cli import _main as cli
from keras_initx.recipes._named import RECIPES


def shown(capsys, *arguments):
    assert cli.main(["recipes", *arguments]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_all_recipes_are_listed_by_the_names_that_options_take(capsys):
    text = shown(capsys)
    names = {line.split()[0] for line in text.splitlines() if not line.startswith(" ")}
    expected = set()
    for name, recipe in RECIPES.items():
        sources = recipe.sources
        expected |= {name} if isinstance(sources, str) else {f"{name}:{source}" for source in sources}
    assert names == {"recipe", *expected}


@pytest.mark.parametrize("name", ["torch", "flax", "keras", "gpt2", "resnet:keras"])
def test_one_recipe_is_shown(capsys, name):
    text = shown(capsys, name)
    name = name.partition(":")[0]
    assert text.startswith(f"{name}: for ")
    assert ("LSTMCell" in text) == (name in ("torch", "flax"))


@pytest.mark.parametrize("command", [["recipes", "torhc"], ["audit", "FILE", "--recipe", "torhc"]])
def test_a_typo_is_told_with_what_there_is(capsys, tmp_path, command):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    command = [f"{path}:model" if part == "FILE" else part for part in command]
    assert "no recipe is named 'torhc'; did you mean torch?" in refused(capsys, *command)
    other = [part.replace("torhc", "nothing") for part in command]
    assert "; there are bert, convnext" in refused(capsys, *other)


MODEL = textwrap.dedent("""
    import keras
    import keras_initx

    def model():
        layers = keras.layers
        parts = [layers.Embedding(200, 32), layers.LSTM(32), layers.Dense(8)]
        return keras.Sequential([keras.Input((6,)), *parts])

    def ported():
        found = model()
        keras_initx.initialize(found, "torch", seed=0)
        return found
""")


def test_a_model_is_audited_by_the_defaults_of_torch(capsys, tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["audit", "model.py:ported", "--recipe", "torch"]) == 0
    assert "6 of 6 weights are as torch says" in capsys.readouterr().out
    assert cli.main(["audit", "model.py:model", "--recipe", "torch"]) == 1
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "embedding/embeddings" in text
    assert "not as torch says" in text
