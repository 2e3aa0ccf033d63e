"""Types of numeric options. Their names are shown in argparse's errors, which name the option."""

import math
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def _type(name: str, convert: Callable[[str], Number], allows: Callable[[Number], bool]) -> Callable[[str], Number]:
    """Return a function that parses a number and raises `ValueError` unless it is allowed."""

    def parse(text: str) -> Number:
        value = convert(text)
        if not allows(value):
            raise ValueError
        return value

    parse.__name__ = name
    return parse


count = _type("positive integer", int, lambda value: value > 0)
count_or_zero = _type("non-negative integer", int, lambda value: value >= 0)
processes = _type("integer other than 0", int, lambda value: value != 0)
seed = _type("integer in [0, 2**32)", int, lambda value: 0 <= value < 1 << 32)
finite = _type("finite number", float, math.isfinite)
positive = _type("positive number", float, lambda value: 0 < value < math.inf)
