"""Initializers as they are written on the command line."""

import re

import pytest

from keras_initx.cli._initializers import identifier, parse, split

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("he_normal, initx.sparse", ["he_normal", "initx.sparse"]),
        ("a(b=1,c=relu),d(e=[1,2]),f", ["a(b=1,c=relu)", "d(e=[1,2])", "f"]),
        ("a(b={c: 1, d: [2, 3]}),e", ["a(b={c: 1, d: [2, 3]})", "e"]),
        ("a(b='x),('),c", ["a(b='x),(')", "c"]),
        ('a(b="x),("),c', ['a(b="x),(")', "c"]),
        ("a,,b,", ["a", "b"]),
        ("mine>Bernoulli,a(b=1", ["mine>Bernoulli", "a(b=1"]),
        (" ", []),
    ],
    ids=str,
)
def test_commas_outside_of_brackets_separate_initializers(text, parts):
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "name", "config"),
    [
        ("initx.sparse", "initx.sparse", {}),
        ("initx.sparse()", "initx.sparse", {}),
        ("a (gain = relu, seed=None)", "a", {"gain": "relu", "seed": None}),
        ("a(b=-1, c=2.5e-3, d=True)", "a", {"b": -1, "c": 0.0025, "d": True}),
        ("a(b='relu)', c=\"d,e\")", "a", {"b": "relu)", "c": "d,e"}),
        ("a(b=[0, 1], c=[initx.orthogonal, zeros])", "a", {"b": [0, 1], "c": ["initx.orthogonal", "zeros"]}),
    ],
    ids=str,
)
def test_arguments_are_numbers_words_strings_or_lists(text, name, config):
    assert parse(text) == (name, config)


@pytest.mark.parametrize(
    "text",
    [
        "a(relu)",
        "a(b=1",
        "a(b=1))",
        "a(**b)",
        "a(b=1)(c=2)",
        "a(b=1)+2",
        "a(b=f(1))",
        "a(b=1/2)",
        "a(b=)",
    ],
)
def test_what_is_written_otherwise_is_refused(text):
    with pytest.raises(ValueError, match=r"must have the form id\(name=value, \.\.\.\) .* Received: a\("):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("b=1, b=2", "must have each argument once, and has b twice"),
        ("b={c: 1, 'c': 2}", "must have each key once, and has 'c' twice"),
        ("b=nan", "must have finite numbers as arguments, and has nan"),
        ("b=[1, -Infinity]", "must have finite numbers as arguments, and has Infinity"),
        ("b={c: 1e999}", "must have finite numbers as arguments, and has 1e309"),
    ],
)
def test_what_is_said_twice_or_not_finite_is_refused(arguments, problem):
    with pytest.raises(ValueError, match=rf"^an initializer {re.escape(f'{problem}. Received: a({arguments})')}$"):
        parse(f"a({arguments})")


def test_a_word_in_quotes_may_be_a_number_too():
    assert parse("a(ord='inf')") == ("a", {"ord": "inf"})


def test_an_initializer_of_keras_has_arguments_too():
    config = {"class_name": "random_normal", "config": {"stddev": 0.1}}
    assert identifier("random_normal(stddev=0.1)") == config
    assert identifier("random_normal") == "random_normal"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("initx.sparse(gai=relu)", r"Sparse.__init__\(\) got an unexpected keyword argument 'gai'"),
        ("initx.sparse(connections=2.5)", r"`connections` must be a positive integer. Received: connections=2.5"),
        ("random_normal(std=1)", r"RandomNormal.__init__\(\) got an unexpected keyword argument 'std'"),
        ("initx.scaled", r"Scaled.__init__\(\) missing 2 required positional arguments: 'initializer' and 'factor'"),
        ("he_normal(seed=1)", "must not have seeds, because each repeat sets its own"),
    ],
)
def test_the_error_names_the_argument_and_not_how_keras_loads_it(text, reason):
    with pytest.raises(ValueError, match=rf"^{re.escape(text)}: [^\n]*{reason}[^\n]*$"):
        identifier(text)
