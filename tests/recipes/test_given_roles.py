"""What a recipe cannot know of weights, the user says by `roles`, and it counts before what is found."""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from decoders import LENGTH, PARTS, Positions
from gated import HIDDEN, Experts, decoder, gated, stds
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx import audit, initialize, recipes
from keras_initx.cli._main import main


def hidden():
    """Return a decoder of which only the user knows what ends its branches."""
    return decoder(lambda y: gated(y) + Experts(name="experts")(y))


def positions():
    model = Positions(PARTS["embedded"][0])
    model(np.zeros((2, LENGTH), "int32"))
    return model


FORMS = {
    "name": "gpt2",
    "source": "gpt2:openai",
    "function": recipes.gpt2,
    "partial": functools.partial(recipes.gpt2, source="openai"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_gets_what_its_role_gets_and_the_plan_says_so(form):
    model = positions()
    plan = initialize(model, FORMS[form], seed=0, roles={"positions": "where"})
    assert {weight.path: weight.expected_std for weight in plan.rows}["where"] == 0.01
    assert not plan.left
    assert plan.notes[-1] == "As `roles` says: positions: 'where'"
    assert audit(model, FORMS[form], seed=0, roles={"positions": ["wh*", "where"]}).ok


def test_roles_count_before_what_is_found():
    rules = recipes.gpt2(positions(), roles={"tokens": "table/embeddings"})
    assert rules.by_path["table/embeddings"].stddev == 0.02


def test_the_ends_of_branches_that_cannot_be_followed_are_those_that_the_user_says():
    model = hidden()
    with pytest.raises(ValueError, match="cannot be followed"):
        stds(model, "llama:megatron")
    roles = {"outer": ["w2/kernel", "experts/w2"], "attended": "attention/*output/kernel", "up": "experts/w3"}
    plan = initialize(model, "llama:megatron", seed=0, roles=roles)
    found = {weight.path: weight.expected_std for weight in plan.rows}
    assert found["experts/w2"] == found["w2/kernel"] == pytest.approx(0.02 / 3**0.5)
    assert found["experts/w3"] == 0.02
    assert [weight.path for weight in plan.left] == ["experts/w1"]
    assert to_numpy(model.get_layer("experts").w3).std() == pytest.approx(0.02, rel=0.2)


class Refused(NamedTuple):
    """Rules and roles that do not go together, and what is said against them."""

    rules: Any
    roles: Any
    error: type[Exception]
    message: str


@pytest.mark.parametrize(
    Refused._fields,
    [
        Refused(
            rules={"*kernel": "zeros"},
            roles={"kernel": "*kernel"},
            error=ValueError,
            message="Pass `roles` only with a recipe",
        ),
        Refused(rules=None, roles={"kernel": "*kernel"}, error=ValueError, message="Pass `roles` only with a recipe"),
        Refused(
            rules=lambda model: {},
            roles={"kernel": "*kernel"},
            error=ValueError,
            message="Pass `roles` only with a recipe",
        ),
        Refused(
            rules="gpt2",
            roles={"position": "where"},
            error=ValueError,
            message="`roles` must have keys among .*'position'; did you mean 'positions'",
        ),
        Refused(
            rules="gpt2",
            roles={"positions": "*/here"},
            error=ValueError,
            message="`roles` must have patterns that match weights.*'.*/here'.*'where'",
        ),
        Refused(
            rules="gpt2",
            roles={"positions": 3},
            error=TypeError,
            message="`roles` must have a pattern or a list of patterns .* 3",
        ),
        Refused(
            rules="gpt2", roles=["where"], error=TypeError, message="`roles` must be a dict from roles to patterns"
        ),
    ],
)
@pytest.mark.parametrize("call", [initialize, audit])
def test_roles_that_say_nothing_are_refused(call, rules, roles, error, message):
    with pytest.raises(error, match=message):
        call(positions(), rules, roles=roles)


def test_roles_are_refused_with_a_plan_a_contract_and_arrays():
    model = positions()
    plan = initialize(model, "gpt2", seed=0)
    for other in ({"rules": plan}, {"like": keras_initx.contract(model)}, {"like": model}):
        with pytest.raises(ValueError, match="`roles` must be left out"):
            audit(model, **other, roles={"positions": "where"})


def test_the_command_line_takes_roles(tmp_path, capsys):
    ids = keras.Input((LENGTH, HIDDEN))
    model = keras.Sequential([ids, layers.Dense(8, "selu", name="first"), layers.Dense(8, "selu", name="second")])
    model.save(tmp_path / "model.keras")
    options = [
        "--recipe",
        "selu",
        "--role",
        "bias=*/bias",
        "--role",
        "kernel=first/*",
        "--role",
        "kernel=second/kernel",
    ]
    assert main(["initialize", str(tmp_path / "model.keras"), *options, "--dry-run"]) == 0
    assert "As `roles` says: kernel: 'first/kernel', 'second/kernel'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / "model.keras"), "--recipe", "selu", "--role", "bias"])
    assert "ROLE=PATTERN" in capsys.readouterr().err
