"""The large products of cases, and the spread sample of them that an ordinary run makes do with.

A test that runs for every case in every shape, dtype or way to compute is marked with `product`. `pytest --full` runs
all of them. Without it every case still appears in each of its shapes, and every value of the other parameters in some
of these; which ones is fixed.
"""

import hashlib

# The parameters that make a row of the table of cases.
_ROW = ("case", "shape")


def sampled(items) -> list[bool]:
    """Return for each test of one product whether it belongs to the sample.

    Args:
        items: A dict of parameters for each test.
    """
    # The text of a function has its address, which differs between processes.
    named = [{name: getattr(value, "__name__", str(value)) for name, value in item.items()} for item in items]
    kept, seen = [False] * len(items), set()
    # In an order without meaning, or the first dtype would be that of nearly all.
    for i in sorted(range(len(items)), key=lambda i: hashlib.sha256(repr(named[i]).encode()).digest()):
        shown = set(_shown(named[i]))
        kept[i] = not shown <= seen
        seen |= shown
    return kept


def _shown(parameters):
    yield tuple(parameters.get(name) for name in _ROW)
    yield from ((name, value) for name, value in parameters.items() if name not in _ROW)
