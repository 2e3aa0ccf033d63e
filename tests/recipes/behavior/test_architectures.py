"""Architectures as published, each with the kernels that end branches and how many are on their way, by hand."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from architectures import (
    LAYERS,
    albert,
    around,
    bart,
    bert,
    cait,
    clip,
    conditioned,
    conformer,
    ddpm,
    deepseek,
    detr,
    dit,
    divided,
    experts,
    fewer,
    film,
    film_exp,
    fused,
    gpt2,
    gpt_j,
    heads,
    highway,
    hourglass,
    labelled,
    llava,
    looped,
    masked_autoencoder,
    mixer,
    mixture,
    mlp,
    mobilenet,
    perceiver,
    perceiver_io,
    q_former,
    qwen,
    read,
    resnet,
    sandwich,
    siamese,
    siglip,
    slots,
    stacked,
    subtracted,
    swin,
    switch,
    t5,
    top_two,
    u_vit,
    vit,
    wavenet,
    whisper,
    without_kernel,
)
from modes import often

from keras_initx.recipes import zero_residual
from keras_initx.recipes._parts import ENDS, Doubt


class Row(NamedTuple):
    """What is in a model.

    Attributes:
        build: Function that returns it.
        ends: How many branches are on the way of each kernel that ends one, by patterns of names; 0 is not known.
        doubts: What is not known.
    """

    build: Callable
    ends: dict
    doubts: tuple = ()


def block_ends(*names):
    return [f"{name}_{end}" for name in names for end in ("att", "down")]


def expert_ends(number=4, more=(), blocks=("b0", "b1")):
    names = [*(f"e{e}" for e in range(number)), *more]
    return {f"{block}{name}_down": 4 for block in blocks for name in names} | {f"{block}_att": 4 for block in blocks}


def each(count, *names):
    return dict.fromkeys(names, count)


ENCODER = block_ends("e0", "e1")
DECODER = [*block_ends("d0", "d1"), "d0_cross", "d1_cross"]
ROWS = [
    Row(gpt2, each(4, *block_ends("b0", "b1"))),
    Row(bert, each(4, *block_ends("b0", "b1"))),
    Row(albert, each(6, *block_ends("b"))),
    Row(gpt_j, each(4, *block_ends("b0", "b1"))),
    Row(looped, each(12, *block_ends("b0", "b1"))),
    Row(
        t5,
        each(4, "e0_att_o", "e0_down", "e1_att_o", "e1_down")
        | each(6, "d0_att_o", "d0_cross_o", "d0_down", "d1_att_o", "d1_cross_o", "d1_down"),
    ),
    Row(whisper, each(6, *block_ends("e0", "e1", "e2")) | each(6, *DECODER)),
    Row(
        bart,
        each(4, *ENCODER) | each(9, *DECODER, *block_ends("d2"), "d2_cross"),
    ),
    Row(clip, each(6, *block_ends("v0", "v1", "v2")) | each(4, *block_ends("t0", "t1"))),
    Row(
        siglip,
        each(5, *block_ends("v0", "v1"), "pool_down") | each(4, *block_ends("t0", "t1")),
    ),
    Row(siamese, each(4, *block_ends("b0", "b1"))),
    Row(
        llava,
        each(0, *block_ends("v0", "v1", "t0", "t1", "t2")) | each(10, *block_ends("v0", "v1")),
        doubts=(Doubt.LENGTHS,),
    ),
    Row(masked_autoencoder, each(10, *block_ends("e0", "e1", "e2", "d0", "d1"))),
    Row(lambda: heads(1, 1), each(6, *block_ends("b0", "b1", "h0", "i0"))),
    Row(
        lambda: heads(1, 2),
        each(0, *block_ends("b0", "b1")) | each(6, *block_ends("h0")) | each(8, *block_ends("i0", "i1")),
        doubts=(Doubt.LENGTHS,),
    ),
    Row(perceiver, each(8, "cross", "cross_down", *block_ends("b0"))),
    Row(
        perceiver_io,
        each(5, "cross", *block_ends("b0", "b1")) | each(2, "out", "out_down"),
    ),
    Row(detr, each(4, *ENCODER) | each(6, *DECODER)),
    Row(
        q_former,
        each(2, *block_ends("v0")) | each(6, *block_ends("q0", "q1"), "q0_cross", "q1_cross"),
    ),
    Row(slots, each(6, "slot", "slot_down")),
    Row(
        ddpm,
        each(6, "down1_last", "middle", "up0_last") | each(0, "down0_last", "up1_last", "up2_last"),
        doubts=(Doubt.LENGTHS,),
    ),
    Row(swin, each(8, *block_ends("s00", "s01", "s10", "s11"))),
    Row(mixture(experts), expert_ends()),
    Row(mixture(lambda name, y: experts(name, y, weigh=top_two)), expert_ends()),
    Row(mixture(lambda name, y: experts(name, y, 12)), expert_ends(12)),
    Row(mixture(deepseek), expert_ends(more=["shared"])),
    Row(mixture(qwen), expert_ends(more=["shared"])),
    Row(mixture(switch), expert_ends()),
    Row(mixture(lambda name, y: experts(name, y, network=mlp)), expert_ends()),
    Row(mixture(stacked), expert_ends()),
    Row(mixture(divided), expert_ends()),
    Row(mixture(fewer), each(4, "b0_att", "b1_att"), doubts=(Doubt.ENDS,)),
    Row(mixture(without_kernel), each(4, "b0_att", "b1_att"), doubts=(Doubt.ENDS,)),
    Row(lambda: hourglass(False), each(3, "b0_down", "b1_down", "b2_down")),
    Row(lambda: hourglass(True), each(3, "b0_down", "b1_down", "b2_down")),
    Row(conditioned, each(3, "b0_down", "b1_down", "b2_down")),
    Row(dit, each(4, *block_ends("b0", "b1"))),
    Row(labelled, each(4, *block_ends("b0", "b1"))),
    Row(film, each(2, "b0_down", "b1_down")),
    Row(film_exp, each(2, "b0_down", "b1_down")),
    Row(fused, each(4, *block_ends("b0", "b1"))),
    Row(subtracted, each(2, "b0_down", "b1_down")),
    Row(around, each(2, "b0_down", "b1_down")),
    Row(vit, each(4, *block_ends("b0", "b1"))),
    Row(cait, each(4, *block_ends("b0", "b1", "c0", "c1"))),
    Row(resnet, each(3, "b0_2", "b1_2", "b2_2")),
    Row(lambda: resnet(True), each(3, "b0_2", "b1_2", "b2_2")),
    Row(mobilenet, each(2, "b0_3", "b1_3")),
    Row(mixer, each(4, "t0_down", "c0_down", "t1_down", "c1_down")),
    Row(
        conformer,
        each(8, *(f"b{n}{end}" for n in (0, 1) for end in ("a_down", "_att", "_point", "b_down"))),
    ),
    Row(wavenet, each(3, "b0_down", "b1_down", "b2_down")),
    Row(sandwich, each(4, *block_ends("b0", "b1"))),
    Row(
        u_vit,
        each(0, *block_ends("a0", "c0")) | each(6, *block_ends("b0")),
        doubts=(Doubt.LENGTHS,),
    ),
    Row(highway, {}, doubts=(Doubt.ENDS,)),
]
NAMES = [
    "gpt2 bert albert gpt_j looped t5 whisper bart clip siglip siamese llava mae heads heads_unlike perceiver",
    "perceiver_io detr q_former slots ddpm swin mixtral top_two twelve deepseek qwen switch ungated stacked divided",
    "fewer without_kernel hourglass hourglass_conditioned conditioned dit labelled",
    "film film_exp fused subtracted around vit cait resnet se_resnet mobilenet mixer",
    "conformer wavenet sandwich u_vit highway",
]
BY_NAME = dict(zip(" ".join(NAMES).split(), ROWS, strict=True))
# One of each kind; before a release all others too.
OFTEN = [
    *("gpt2", "albert", "looped", "t5", "clip", "llava", "perceiver", "slots", "switch", "fewer", "hourglass"),
    *(
        "conditioned",
        "dit",
        "film",
        "fused",
        "subtracted",
        "cait",
        "resnet",
        "mobilenet",
        "mixer",
        "wavenet",
        "highway",
    ),
]


def of_layer(path):
    """Return the name of the layer of a kernel, of attention that of the whole."""
    return path.split("/")[-2 if "attention_output" not in path else -3]


@pytest.mark.parametrize("name", often(BY_NAME, OFTEN, every_backend=["gpt2", "t5", "slots"]))
def test_the_ends_of_branches_and_their_numbers_are_those_by_hand(name):
    row = BY_NAME[name]
    found = read(row.build)
    ends = {of_layer(part.weight.path): part.role for part in found.parts if part.role.name in ENDS}
    assert {name: role.branches for name, role in ends.items()} == row.ends
    numbered = (Doubt.ENDS, Doubt.LENGTHS)
    assert set(numbered) & set(found.doubts) == set(numbered) & set(row.doubts), found.doubts


# What `zero_residual` sets to 0: patterns of paths; not what modulates but does not close.
ZEROS = {
    "dit": {f"modulation{number}/{name}" for number in range(2) for name in ("kernel", "bias")},
    "film": {f"b{number}_{name}" for number in range(2) for name in ("down/kernel", "film/kernel", "film/bias")},
    "film_exp": {"b0_down/kernel", "b1_down/kernel"},
    "fused": {f"b{number}_{end}/kernel" for number in range(2) for end in ("att", "down")},
    "subtracted": {"b0_down/kernel", "b1_down/kernel"},
    "around": {"b0_down/kernel", "b1_down/kernel"},
}


@pytest.mark.parametrize("name", often(ZEROS, ["film", "film_exp"], every_backend=["film"]))
def test_what_closes_branches_is_that_by_hand(name):
    LAYERS.clear()
    rules = zero_residual(BY_NAME[name].build())
    assert rules.by_path == dict.fromkeys(ZEROS[name], "zeros")
    assert ("  branches that contain others: 'add_" in "\n".join(rules.notes)) == (name == "around")
