"""The sample of a large product is spread over all of it."""

import itertools

from cases import CASES
from products import sampled

DTYPES = ("float16", "bfloat16", "float32", "float64")
MODES = ("eager", "jit")
PRODUCT = [
    {"case": case, "shape": shape, "dtype": dtype, "mode": mode}
    for case in CASES
    for shape, dtype, mode in itertools.product(case.shapes, DTYPES, MODES)
]
SAMPLE = [item for item, keep in zip(PRODUCT, sampled(PRODUCT), strict=True) if keep]


def shown(items, *traits):
    return {tuple(trait(item) for trait in traits) for item in items}


def case(item):
    return str(item["case"])


def rank(item):
    return len(item["shape"])


def dtype(item):
    return item["dtype"]


def mode(item):
    return item["mode"]


def test_every_case_appears_in_each_of_its_shapes():
    rows = [{"case": item["case"], "shape": item["shape"]} for item in SAMPLE]
    assert all({"case": case, "shape": shape} in rows for case in CASES for shape in case.shapes)


def test_every_rank_dtype_and_mode_appears_with_each_of_the_others():
    for pair in itertools.combinations((rank, dtype, mode), 2):
        assert shown(SAMPLE, *pair) == shown(PRODUCT, *pair)


def test_the_sample_is_a_fraction():
    # Of eight combinations of dtype and mode, little more than one for each case in each shape.
    assert len(SAMPLE) < len(PRODUCT) / 7


def test_a_case_may_appear_in_one_shape_only():
    sample = [item for item, keep in zip(PRODUCT, sampled(PRODUCT, ("case",)), strict=True) if keep]
    assert shown(sample, case) == shown(PRODUCT, case)
    for trait in (rank, dtype, mode):
        assert shown(sample, trait) == shown(PRODUCT, trait)
    assert len(sample) < 1.2 * len(CASES)


def test_without_cases_every_value_appears():
    product = [{"kernel": kernel, "mode": mode} for kernel, mode in itertools.product("abcd", MODES)]
    sample = [item for item, keep in zip(product, sampled(product), strict=True) if keep]
    assert {item["kernel"] for item in sample} == set("abcd")
    assert {item["mode"] for item in sample} == set(MODES)
    assert len(sample) < len(product)
