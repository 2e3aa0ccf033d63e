"""Two draws of one law are no alarm, whatever the law; and what differs is one, however small."""

import numpy as np
import pytest

import keras_initx
from keras_initx.tools.audit._audit import audit_at


def audit(found, expected, **options):
    return keras_initx.audit({"a": found}, like={"a": expected}, **options)


def verdict(found, expected, **options):
    return audit(found, expected, **options).rows[0].status


def contract(make, draws=3):
    rng = np.random.default_rng(0)
    return keras_initx.contract(lambda: {"a": make(rng)}, draws=draws)


def outliers(rng):
    values = rng.normal(0, 0.02, 256)
    values[rng.integers(0, 256, 3)] = -2.0
    return values


LAWS = {
    "with a peak": lambda rng: rng.uniform(-1, 1, 1024) ** 3,
    "of logarithms": lambda rng: np.exp(rng.uniform(-7, -2, 1024)),
    "of waiting times": lambda rng: rng.exponential(1, 1024),
    "with outliers": outliers,
    "sorted": lambda rng: np.sort(rng.normal(0, 1, 64)),
    "signs": lambda rng: rng.choice([-1.0, 1.0], 64),
    "few numbers": lambda rng: rng.integers(0, 3, (16, 16)).astype("float32"),
    "equal values in 16 bits": lambda rng: np.repeat(rng.normal(0, 1, 64), 4).astype("float16"),
    "equal rows": lambda rng: np.tile(rng.normal(0, 1, 16), (16, 1)),
}


@pytest.fixture(scope="module")
def of_several_draws():
    rng = np.random.default_rng(0)
    return keras_initx.contract(lambda: {law: make(rng) for law, make in LAWS.items()}, draws=3)


@pytest.mark.rare
@pytest.mark.parametrize("seed", range(5))
def test_draws_of_one_law_are_no_alarm(of_several_draws, seed):
    rng = np.random.default_rng(seed)
    first, second = ({law: make(rng) for law, make in LAWS.items()} for _ in range(2))
    alpha = 1e-3 * len(LAWS)  # for each law 1e-3
    for expected in (second, of_several_draws):
        report = audit_at(alpha, first, like=expected)
        assert report.ok, report.problems


def test_draws_that_differ_as_a_whole_tell_little():
    """They have another scale each time, as if there were one independent value in each."""
    several = contract(lambda rng: rng.normal() * rng.normal(0, 1, 64).astype("float32"))
    found = np.random.default_rng(1).normal(0, 3, 64).astype("float32")
    assert keras_initx.audit({"a": found}, like=several).ok


@pytest.mark.parametrize("copies", ["rows", "columns"])
def test_copies_within_a_weight(copies):
    rng = np.random.default_rng(0)
    third = rng.normal(0, 1, (16, 32)).astype("float32")
    found = np.concatenate([third, third, third], axis=0)  # as of queries, keys and values
    if copies == "columns":
        found = found.T.copy()
    expected = rng.normal(0, 1, found.shape).astype("float32")
    row = audit(found, expected).rows[0]
    assert (row.status, row.detail) == ("copies", f"3 equal parts along axis {int(copies == 'columns')}")


def test_three_equal_parts_as_of_queries_keys_and_values():
    rng = np.random.default_rng(0)
    third = rng.normal(0, 1, (32, 20)).astype("float32")
    row = audit(np.tile(third, (1, 3)), rng.normal(0, 1, (32, 60)).astype("float32")).rows[0]
    assert (row.status, row.detail) == ("copies", "3 equal parts along axis 1")


def test_names_joined_by_dots_are_those_joined_by_slashes():
    rng = np.random.default_rng(0)
    expected = keras_initx.contract(lambda: {"block/a": rng.normal(0, 1, 64)}, draws=3)
    report = keras_initx.audit({"block.a": rng.normal(0, 1, 64)}, like=expected)
    assert report.ok
    assert report.not_compared == []


def test_values_that_are_almost_constant():
    expected = np.random.default_rng(0).normal(0.1, 1, (32, 32)).astype("float32")
    found = np.full((32, 32), 0.1, "float32") + 1e-8 * np.eye(32, dtype="float32")
    assert verdict(found, expected) == "copies"


def test_all_of_few_values_may_be_zero_by_chance():
    expected = np.zeros(16)
    expected[3] = 0.3712845
    assert audit(np.zeros(16), expected).ok
    assert verdict(np.zeros(16), np.random.default_rng(0).normal(size=16)) == "constant"


def test_one_value_of_one_draw():
    """It may have been drawn; of several draws it is constant."""
    one, other = np.float32([0.3712845]), np.float32([0.1184527])
    report = audit(one, other)
    assert report.rows[0].detail == "one value, of one draw"
    several = keras_initx.contract(lambda: {"a": other})
    assert not keras_initx.audit({"a": one}, like=several).ok


def test_constants_of_other_dtypes():
    for one, other in (("float32", "float16"), ("float16", "float32")):
        assert verdict(np.full(9, 0.1, one), np.full(9, 0.1, other)) == "dtype"
    assert audit(np.full(9, 0.0), np.full(9, -0.0)).ok
    assert audit(np.full(9, -0.0), np.ones(9)).problems[0].detail == "all values are 0, expected 1"


def test_values_that_are_not_finite():
    normal = np.random.default_rng(0).normal(size=(32, 32)).astype("float32")
    for number in (np.nan, np.inf, -np.inf):
        broken = normal.copy()
        broken[0, 0] = number
        for expected in (normal, np.zeros_like(normal)):
            assert verdict(broken, expected) == "not finite"
        (left,) = audit(normal, broken).not_compared
        assert (left.path, left.detail) == ("a", "not finite" if np.isnan(number) else "infinite")
        assert audit(broken, broken).ok
    mask = np.triu(np.full((32, 32), -np.inf, "float32"), 1)
    (left,) = audit(mask.T.copy(), mask).not_compared
    assert (left.path, left.detail) == ("a", "infinite")
    assert verdict(mask, normal) == "not finite"
    assert audit(mask, mask).ok


def test_a_dtype_that_is_reported_is_not_counted_as_not_compared():
    report = audit(np.arange(9), np.random.default_rng(0).normal(size=9))
    assert report.summary == "1 of 1 weights is not as in the other arrays. The same bit for bit: 0 of 1."
