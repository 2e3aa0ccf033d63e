"""The kernel compiles for GPUs, which takes none: its interpreter takes more than its compiler does."""

import os
import re

import pytest
from modes import BACKEND

from keras_initx.sampling import _conversion

pytestmark = [
    pytest.mark.skipif(BACKEND != "torch", reason="a kernel of torch"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="nothing is compiled in the interpreter"),
]

# From NVIDIA's Turing to Blackwell, and AMD's of data centers and desktops.
TARGETS = (
    *(("cuda", capability, 32) for capability in (75, 80, 89, 90, 100, 120)),
    *(("hip", name, 64) for name in ("gfx90a", "gfx942")),
    ("hip", "gfx1100", 32),
)
KINDS = (_conversion.as_words, _conversion.as_uniform, _conversion.as_normal, _conversion.as_interpolated)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_kernel_compiles_for_gpus(kind, target):
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from keras_initx.sampling import _triton as module

    names = module._fill.arg_names
    for start, out in ((0, "fp32"), (1, "fp32"), (0, "bf16"), (0, "fp16"), (0, "fp64")):
        number = "fp64" if out == "fp64" else "fp32"
        pointers = {
            "out": "*i32" if kind is _conversion.as_words else f"*{out}",
            "table": "*i32" if kind is _conversion.as_interpolated else f"*{number}",
        }
        constants = module._constants(kind, start, "float64" if out == "fp64" else "float32")
        source = ASTSource(
            fn=module._fill,
            signature={**pointers, **dict.fromkeys(module._WORDS, "i32"), **dict.fromkeys(constants, "constexpr")},
            constexprs={(names.index(name),): value for name, value in constants.items()},
            attrs={(i,): [["tt.divisibility", 16]] for i in range(len(pointers))},
        )
        compiled = compile(source, target=GPUTarget(*target), options={"enable_fp_fusion": False})
        assembly = compiled.asm["ptx" if target[0] == "cuda" else "amdgcn"]
        assert not re.search(r"fma\.rn|v_(pk_)?fma", assembly)
        # Numbers below the smallest normal one stay.
        assert ".ftz" not in assembly
        assert target[0] == "cuda" or ".amdhsa_float_denorm_mode_32 3" in assembly
        # With an even start several elements are stored at a time.
        assert target[0] != "cuda" or start or ".v4.b32" in assembly or ".v2.b64" in assembly
