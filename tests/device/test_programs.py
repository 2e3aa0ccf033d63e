"""The programs of JAX lower for accelerators, which takes none."""

import numpy as np
import pytest
from modes import BACKEND

from keras_initx.sampling import _conversion, _orthonormal_frames, _stream, _subsets

pytestmark = [pytest.mark.every_backend, pytest.mark.skipif(BACKEND != "jax", reason="programs of JAX")]

PLATFORMS = ("cuda", "rocm", "tpu")
LENGTH = 1 << 12


def words(count):
    return np.zeros(count, "int32")


def programs():
    """Yield the name, the program and the arguments of each way to make values."""
    numbers = np.zeros(5, "float32")
    tables = {
        "as_normal": (_conversion.normal_table("float32"),),
        "as_interpolated": (_conversion.truncated_quantiles(-2.0, 2.0).knots,),
    }
    for convert in _conversion.KINDS:
        for out in ("int32",) if convert is _conversion.as_words else ("float32", "bfloat16", "float16"):
            program = _stream._make_block_program(convert, "float32", out, LENGTH)
            yield f"{convert.__name__}-{out}", program, (words(4), numbers, *tables.get(convert.__name__, ()))
    yield "columns", _subsets._columns_program(70, 30, "float32", "bfloat16"), (words(4), numbers)
    draws = np.zeros(_orthonormal_frames._draws_in(300, 200), "float32")
    program, begins = _orthonormal_frames._product_program(300, 200, "float32")
    yield "frame", program, (draws, begins)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", [name for name, *_ in programs()] if BACKEND == "jax" else ["none"])
def test_a_program_lowers_for_an_accelerator(name, platform):
    import jax.export

    from keras_initx.backends._current import backend

    program, arguments = next((program, arguments) for found, program, arguments in programs() if found == name)
    with backend.full_precision():
        lowered = jax.export.export(program, platforms=[platform])(*arguments).mlir_module()
    assert "f64" not in lowered
    assert "stablehlo.dot_general" not in lowered  # whose precision is the user's
