"""Golden values: what each case gave when it was added, and must give for ever.

`python tests/support/golden.py` adds those of new cases, under any backend, to `golden.json`. It never changes what is
there.
"""

import hashlib
import json
import math
import pathlib

import numpy as np
from modes import to_numpy

PATH = pathlib.Path(__file__).parents[1] / "golden.json"
DTYPES = ("float32", "bfloat16")
SAMPLE = 16  # values of a case that is not exact


def load():
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def label(case, shape, dtype):
    return f"{case} {shape} {dtype}"


def rows(cases):
    """Yield what is remembered: the first shapes in float32, the very first also in 16 bits."""
    for case in cases:
        shapes = [shape for shape in case.shapes if math.prod(shape)]
        for index, shape in enumerate(shapes[:4]):
            for dtype in DTYPES if index == 0 and case.exact else DTYPES[:1]:
                yield case, shape, dtype


def record(case, values):
    """Return a digest of all bits, or a sample of the values where rounding differs."""
    if case.exact:
        return hashlib.sha256(values.tobytes()).hexdigest()
    return sample(values).tolist()


def sample(values):
    flat = values.reshape(-1).astype("float64")
    return flat[np.linspace(0, flat.size - 1, SAMPLE).astype(int)]


def main():
    from cases import CASES, RARE_CASES

    golden = load()
    for case, shape, dtype in rows(CASES + RARE_CASES):
        golden.setdefault(label(case, shape, dtype), record(case, to_numpy(case.make()(shape, dtype))))
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
