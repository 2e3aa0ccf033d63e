"""Recipes read ten models that were written by hand, each in its own style, without knowledge of the recipes."""

import math

import pytest
import ten_models
from modes import often

import keras_initx

GATED = [
    "llama_functional",
    "llama_by_hand",
    "gemma_like",
    "parallel_gpt",
    "fused_gate",
    "nested_blocks",
    "two_experts",
    "shared_feed_forward",
]
# What is refused, with the reason, and so left as it is: kernels that are no layer's.
NOT_READ = {
    ("two_experts", "llama"): "no gate",
    ("two_experts", "llama:megatron"): "whose `call` cannot be followed: it multiplies by a kernel itself",
}
KERNELS = ("query", "key", "value", "attended", "gate", "inner", "outer")
ENDS = ("attended", "outer")
# Two blocks of two branches.
SMALLER = f"RandomNormal(stddev={0.02 / math.sqrt(2 * 2):g})"


def endings(name, roles):
    return tuple(ending for role in roles for ending in ten_models.ROLES[name].get(role, ()))


def drawn(name, source):
    model = getattr(ten_models, name)()
    return [(row.path, str(row.initializer)) for row in keras_initx.initialize(model, source, seed=0).rows]


def check_ends(name, source):
    rows = drawn(name, source)
    others = endings(name, [role for role in KERNELS if role not in ENDS])
    # The recipe of GPT-2 draws positions with the same deviation, for a reason of its own.
    ends, positions = endings(name, ENDS), endings(name, ["positions"])
    smaller = [path for path, text in rows if text == SMALLER and not path.endswith(positions)]
    assert smaller == [path for path, _ in rows if path.endswith(ends)]
    for path, text in rows:
        if path.endswith(others):
            assert text.startswith("RandomNormal(stddev=0.02"), path


def read_by(source):
    return [name for name in GATED if (name, source) not in NOT_READ]


@pytest.mark.parametrize(("name", "source"), NOT_READ)
def test_what_cannot_be_read_is_refused_with_the_reason(name, source):
    with pytest.raises(ValueError, match=NOT_READ[name, source]):
        drawn(name, source)


@pytest.mark.rare
@pytest.mark.parametrize("name", read_by("llama"))
def test_every_kernel_is_drawn(name):
    kernels = endings(name, KERNELS)
    rows = [(path, text) for path, text in drawn(name, "llama") if path.endswith(kernels)]
    assert all(any(path.endswith(ending) for path, _ in rows) for ending in kernels)
    assert {path: text for path, text in rows if not text.startswith("RandomNormal(stddev=0.02")} == {}


@pytest.mark.parametrize("name", often(read_by("llama:megatron"), ["gemma_like"]))
def test_exactly_the_kernels_that_end_branches_are_smaller(name):
    check_ends(name, "llama:megatron")


def test_gpt2():
    check_ends("gpt2_like", "gpt2")
