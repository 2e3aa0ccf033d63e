"""The large products of cases, and the spread sample of them that an ordinary run makes do with.

A test that runs for every case in every shape, dtype or way to compute is marked with `product`. `pytest --full` runs
all of them. Without it every case still appears in each of its shapes, or with `product("case")` in one of them, and
every rank of a shape and every value of the other parameters in some of these; which ones is fixed.
"""

import hashlib

# The parameters of which every combination appears, if the mark names no others.
ROW = ("case", "shape")


def sampled(items, row=ROW) -> list[bool]:
    """Return for each test of one product whether it belongs to the sample.

    Args:
        items: A dict of parameters for each test.
        row: The parameters of which every combination appears.
    """
    # The text of a function has its address, which differs between processes.
    named = [{name: getattr(value, "__name__", str(value)) for name, value in item.items()} for item in items]
    kept, seen = [False] * len(items), set()
    # In an order without meaning, or the first dtype would be that of nearly all.
    for i in sorted(range(len(items)), key=lambda i: hashlib.sha256(repr(named[i]).encode()).digest()):
        shown = set(_shown(items[i], named[i], row))
        kept[i] = not shown <= seen
        seen |= shown
    return kept


def _shown(parameters, named, row):
    yield tuple(named.get(name) for name in row)
    for name in named.keys() - {*row}:
        yield name, len(parameters[name]) if name == "shape" else named[name]
