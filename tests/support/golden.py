"""Golden values: what each case gave when it was added, and must give for ever.

`python tests/support/golden.py` adds those of new cases, under any backend, to `golden.json`, and those of new classes
to the files of `docs/digests/`, from which the documentation makes a table. It never changes what is there.
"""

import hashlib
import json
import math
import pathlib

import numpy as np
from meshes import fits
from modes import to_numpy

PATH = pathlib.Path(__file__).parents[1] / "golden.json"
# A file for each backend: for each class the digest of one sample, for each way to compute it.
DIGESTS = pathlib.Path(__file__).parents[2] / "docs" / "digests"
DTYPES = ("float32", "bfloat16")
# A case that is not exact is remembered by this many of its values, and its sample differs from float64 by no more.
SAMPLE = 16
BOUNDS = {"float32": 1e-6, "bfloat16": 2.0**-8}
# The ways to compute a sample that cut its last two axes, and into how many parts.
DEVICES = {"2 devices": (1, 2), "8 devices": (1, 8)}
# Shapes of samples where none of a case's own can be cut into eight: kernels and biases.
MORE_SHAPES = ((16, 64), (3, 3, 8, 16), (3, 3, 16, 16), (64,), (2, 48))


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


def digest_shape(case):
    """Return the first shape that the initializer fills and eight devices can share, or else its first."""
    for shape in (*case.shapes, *MORE_SHAPES):
        if fits(shape, DEVICES["8 devices"]):
            try:
                case.make()(shape)
            except ValueError:
                continue
            return shape
    return case.shapes[0]


def digest(case, values):
    """Return the first digits of the digest of all bits, or the bound of the rounding."""
    return record(case, values)[:8] if case.exact else f"within {BOUNDS[values.dtype.name]:.0e}"


def main():
    from cases import CASES, FIRST_CASES, RARE_CASES

    golden = load()
    for case, shape, dtype in rows(CASES + RARE_CASES):
        golden.setdefault(label(case, shape, dtype), record(case, to_numpy(case.make()(shape, dtype))))
    PATH.write_text(json.dumps(golden, indent=1) + "\n")
    for path in DIGESTS.glob("*.json"):
        digests = json.loads(path.read_text())
        ways = max(digests.values(), key=len)
        for case in FIRST_CASES.values():
            shape = digest_shape(case)
            if (name := f"{case} {shape}") not in digests:
                found = {dtype: digest(case, to_numpy(case.make()(shape, dtype))) for dtype in DTYPES}
                digests[name] = {
                    way: found["bfloat16" if way == "bfloat16" else "float32"]
                    for way in ways
                    if way not in DEVICES or fits(shape, DEVICES[way])
                }
        path.write_text(json.dumps(digests, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
