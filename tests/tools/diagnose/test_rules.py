"""Rules name their causes: what has a cause says nothing, and causes come first."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from asked import asked
from judged import mlp
from keras import layers
from stated import levels_of, stated

import keras_initx
from keras_initx.tools import diagnose as diagnostics
from keras_initx.tools.diagnose import _remedies, verdicts
from keras_initx.tools.diagnose._diagnosis import Probe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import LEVELS, Finding, evaluate
from keras_initx.tools.diagnose.verdicts import PROBES, RULES

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def test_a_rule_says_what_it_is():
    for rule in RULES:
        said = stated(rule)
        assert list(said) == ["Reported if", "Level", "Why", "Typical causes", "Fix"], rule.problem
        assert all(said.values()), rule.problem
        assert not any("{" in text for text in said.values()), rule.problem
        assert levels_of(rule) <= set(LEVELS), rule.problem


WORDS = {2: "two", 3: "three", 4: "four", 8: "eight", 10: "ten", 100: "hundred", 1000: "thousand"}


def test_a_rule_says_its_thresholds_by_their_names():
    for rule in RULES:
        text = re.sub(r"{.*?}", "", inspect.getdoc(rule.check).partition("Why:")[0])
        words = set(re.findall(r"[a-z]+|[\d.e-]*\d", text))
        for name, value in vars(inspect.getmodule(rule.check)).items():
            if name.isupper() and isinstance(value, int | float):
                assert words.isdisjoint({f"{value:g}", WORDS.get(value)} - {"0", "1"}), (rule.problem, name)


def test_a_threshold_has_one_value():
    values = {}
    for file in pkgutil.walk_packages(diagnostics.__path__, f"{diagnostics.__name__}."):
        for name, value in vars(importlib.import_module(file.name)).items():
            if name.isupper() and not name.startswith("_") and isinstance(value, int | float):
                assert values.setdefault(name, value) == value, name
    assert values["VANISHING"] == 1e-3


def test_each_file_of_the_verdicts_has_a_rule_that_is_asked_and_its_name():
    files = {file.name for file in pkgutil.iter_modules(verdicts.__path__) if not file.name.startswith("_")}
    assert {rule.problem.replace(" ", "_").replace("-", "_") for rule in RULES} == files
    for rule in RULES:
        assert rule.check.__module__.endswith(f".{rule.problem.replace(' ', '_').replace('-', '_')}")


def imported_verdicts(path):
    """Return the verdicts that a file imports."""
    room, found = verdicts.__name__, []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if name == room or name.startswith(f"{room}.")]


def test_no_verdict_and_no_remedy_imports_a_verdict():
    files = [Path(_remedies.__file__), *Path(verdicts.__path__[0]).glob("[!_]*.py")]
    assert len(files) > len(RULES)
    assert {path.name: names for path in files if (names := imported_verdicts(path))} == {}


def test_each_problem_has_one_rule_which_is_asked_after_its_causes():
    asked_before = set()
    for rule in RULES:
        assert rule.problem not in asked_before, rule.problem
        assert rule.causes <= asked_before, rule.problem
        asked_before.add(rule.problem)


def test_each_probe_sees_the_pass():
    rooms = [*pkgutil.walk_packages(diagnostics.__path__, f"{diagnostics.__name__}.")]
    modules = [importlib.import_module(room.name) for room in rooms]
    classes = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    probes = {cls for cls in classes if issubclass(cls, Probe) and not cls.__name__.startswith("_")}
    assert probes - {Probe} == set(PROBES)


def made(problem, check=None, **options):
    """Return a rule."""
    empty = dataclasses.replace(RULES[-1], unless=(), beside=(), until=(), reads_loss=False)
    return dataclasses.replace(empty, problem=problem, check=check, **options)


def found(*rules):
    """Return the problems, each with its layers, that some rules find in a network of three layers."""
    stack = [layers.Dense(4, name=name) for name in ("one", "two", "three")]
    verdicts = asked(lambda of: evaluate(of, rules), keras.Sequential([keras.Input((6,)), *stack]), X)
    return {verdict.problem: verdict.layers for verdict in verdicts}


def finding(level="warning", name=None):
    """Return a check that finds something of the layer of a name, by default of all that it may speak of."""

    def check(of, layers):
        hit = [layer for layer in layers if name in (None, layer.name)]
        yield Finding(hit, "evidence", Remedy("remedy"), level)

    return check


@pytest.mark.parametrize(
    ("level", "cause", "is_said"),
    [
        ("note", "cause", True),
        ("warning", "cause", False),
        ("error", "cause", False),
        ("warning", "cause:error", True),
        ("error", "cause:error", False),
        ("note", "cause:note", False),
    ],
)
def test_a_cause_hides_from_its_least_level_on(level, cause, is_said):
    rules = made("cause", check=finding(level)), made("effect", check=finding(), unless=[cause])
    assert ("effect" in found(*rules)) == is_said


def test_a_cause_hides_effects_on_the_same_layers_or_from_its_first_layer_on():
    cause = made("cause", check=finding(name="two"))
    beside = made("beside", check=finding(), beside=["cause"])
    until = made("until", check=finding(), until=["cause"])
    expected = {"cause": ("two",), "beside": ("one", "three"), "until": ("one",)}
    assert found(cause, beside, until) == expected


@pytest.mark.parametrize(("level", "is_said"), [("warning", True), ("error", False)])
def test_an_error_of_the_loss_hides_what_reads_the_loss(level, is_said):
    """Of a rule that does so always, or of a single finding."""

    def check(of, layers):
        yield Finding(layers, "of signals", Remedy("remedy"))
        yield Finding(layers, "of gradients", Remedy("remedy"), reads_loss=True)

    cause = made("no probabilities", check=finding(level))
    rules = cause, made("reading", check=finding(), reads_loss=True), made("partly", check=check)
    stack = [keras.Input((6,)), layers.Dense(4)]
    verdicts = asked(lambda of: evaluate(of, rules), keras.Sequential(stack), X)
    evidence = [verdict.evidence for verdict in verdicts[1:]]
    assert evidence == (["evidence", "of signals", "of gradients"] if is_said else ["of signals"])


def test_after_a_finding_on_data_nothing_else_is_said():
    rules = made("data", finding(name="none"), hides_all=True), made("later", check=finding())
    assert found(*rules) == {"data": ()}


def test_each_output_keeps_its_own_fault():
    inputs = keras.Input((6,))
    classes, number = layers.Dense(3, name="classes")(inputs), layers.Dense(1, "relu", name="number")(inputs)
    model = keras.Model(inputs, [classes, number])
    y = [np.arange(32) % 3, -1 - abs(X[:, :1])]
    report = keras_initx.diagnose(model, X, y, loss=["sparse_categorical_crossentropy", "mse"])
    assert {verdict.problem: verdict.layers for verdict in report.problems} == {
        "no probabilities": ("classes",),
        "unreachable targets": ("number",),
    }


def test_an_ignored_problem_hides_its_effects():
    hidden = layers.Dense(6, "relu", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3)])
    assert [verdict.problem for verdict in keras_initx.diagnose(model, X).verdicts] == ["equal units"]
    assert keras_initx.diagnose(model, X, ignore=["equal units"]).verdicts == []


def test_what_is_ignored_is_a_problem():
    with pytest.raises(
        ValueError, match=r"`ignore` must be one of .*Received: ignore='vanish'; did you mean 'vanishing'"
    ):
        keras_initx.diagnose(mlp("tanh"), X, ignore=["vanish"])
    with pytest.raises(TypeError, match=r"`ignore` must be a list of names. Received: ignore='vanishing'"):
        keras_initx.diagnose(mlp("tanh"), X, ignore="vanishing")
