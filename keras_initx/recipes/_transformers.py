"""Recipes for transformers of text."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import keras

from keras_initx._checks import check_choice, check_count, check_flag
from keras_initx.initializers import RandomNormal, Scaled, VarianceScaling
from keras_initx.recipes._blocks import (
    check_normalization,
    check_not_normalized,
    count_of,
    matched,
    matching,
    paths,
)
from keras_initx.recipes._network import network_of
from keras_initx.recipes._parts import Parts
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import Branch, matching_paths

__all__ = ["deepnorm", "gpt2", "t5", "t_fixup"]

Part = Literal["encoder", "decoder"]
# A model, the number of its blocks, or those of its encoder and of its decoder.
Layers: TypeAlias = keras.Model | int | tuple[int, int]

# Layer names of KerasHub's transformers and Keras' attention layer.
_ATTENTION_OUTPUT = "*/attention_output/kernel"
_FEEDFORWARD_OUTPUT = "*/feedforward_output_dense/kernel"
_VALUES = (
    "*/value/kernel",
    _ATTENTION_OUTPUT,
    "*/feedforward_intermediate_dense/kernel",
    _FEEDFORWARD_OUTPUT,
)

# The decoder of an encoder-decoder.
_DECODER = "*decoder"


_T_FIXUP = (
    "a transformer without normalization, which multiplies token embeddings by the root of their "
    "size"
)
_DEEPNORM = "a transformer that computes `norm(alpha * x + branch(x))`"
_GPT2 = "a GPT-2, or another decoder that normalizes before each branch"


@recipe(
    kind=_GPT2,
    sources={
        "openai": "Radford and others, 2019, by its code: position embeddings 0.01",
        "transformers": "Hugging Face's transformers and nanoGPT: position embeddings 0.02",
    },
    marks=lambda network: network.normalizes_first or network.order_of_text,
    refuses=False,  # a model may not say where it normalizes
)
def gpt2(
    layers: keras.Model | int, *, source: Literal["openai", "transformers"] = "openai"
) -> Recipe:
    """Return the rules of GPT-2: weights from `N(0, 0.02²)`, smaller at the ends of branches.

    Each of the `L` blocks has two projections that add to the residual stream. Their kernels get
    the standard deviation `0.02 / sqrt(2 L)`. Biases are 0. The rules are for transformers that
    normalize at the start of each branch.

    Position embeddings get 0.01, as in OpenAI's code. In Hugging Face's transformers and in nanoGPT
    they get 0.02: `source="transformers"`.

    Args:
        layers: The number of blocks, or a built model to count them in. Then rules that match none
            of its weights are left out. In a model without the names of KerasHub, the branches are
            found in its graph.
        source: Whose position embeddings: `"openai"` or `"transformers"`.

    Raises:
        ValueError: If the model has no attention, no embedding of tokens, an encoder and a decoder,
            or a normalization after each sum, as BERT has.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.gpt2(12)["*/attention_output/kernel"].stddev == 0.02 / 24**0.5
        True

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask
        learners", OpenAI 2019, section 2.3, and `src/model.py` of its code. `GPT2PreTrainedModel`
        in Hugging Face's transformers.
    """
    positions = RandomNormal(stddev=0.01 if source == "openai" else 0.02)
    others = RandomNormal(stddev=0.02)
    if isinstance(layers, keras.Model):
        network = network_of("layers", layers)
        crossing = network.cross_attention
        if crossing:
            raise ValueError(
                "`layers` must be a model without cross-attention, for which GPT-2 has no rules: "
                f"use `t_fixup` or `deepnorm`. Received: layers with {crossing[0]!r}"
            )
        check_normalization("layers", layers, is_first=True)
        if not network.has(_ATTENTION_OUTPUT) or not network.has(_FEEDFORWARD_OUTPUT):
            return _gpt2_by_graph(Parts("layers", network, _GPT2), positions, others)
    blocks = count_of("layers", layers, _ATTENTION_OUTPUT, _FEEDFORWARD_OUTPUT)
    residual = RandomNormal(stddev=0.02 / math.sqrt(2 * blocks))
    return {
        _ATTENTION_OUTPUT: residual,
        _FEEDFORWARD_OUTPUT: residual,
        "*kernel": others,
        "*position_embedding/*": positions,
        "*embeddings": others,
        "*bias": "zeros",
    }


def _gpt2_by_graph(parts: Parts, positions: RandomNormal, others: RandomNormal) -> Recipe:
    """Return the rules of GPT-2 for a model with names of its own."""
    if not parts.found.tokens:
        raise parts.refused("no embedding of tokens")
    if not parts.found.normalizes_first or not parts.found.attends or parts.found.crossing:
        raise parts.unfitting
    residual = RandomNormal(stddev=0.02 / math.sqrt(len(parts.branches)))
    rules: Recipe = {parts.last_kernel(branch): residual for branch in parts.branches}
    rules |= dict.fromkeys(parts.positions, positions)
    rules |= {"*kernel": others, "*embeddings": others, "*bias": "zeros"}
    return parts.recognized(rules)


@recipe(
    kind=_T_FIXUP,
    sources="Huang and others, 2020, section 3.2",
)
def t_fixup(layers: Layers, *, part: Part = "encoder", strict: bool = True) -> Recipe:
    """Return the rules of T-Fixup: Glorot normal weights, most of them smaller with the depth.

    They are for transformers without layer normalization, and for training without warmup.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `0.67 N^(-1/4)` in an encoder of `N` blocks, and `(9 M)^(-1/4)` in a
    decoder of `M` blocks. Query and key kernels get Glorot normal weights. Token embeddings get
    `N(0, 1 / d)` times `(9 N)^(-1/4)`, where `d` is their size, those of a decoder with its own
    table `(9 M)^(-1/4)`.

    The factors are the paper's. The authors' code differs in two ways: query and key kernels are
    `sqrt(2)` times smaller, the default of the library that it extends, and it draws from uniform
    distributions. As there, the model must multiply the embeddings by `sqrt(d)` at lookup; those of
    KerasHub do not. It must have no normalization layers; the rules do not remove them.

    Args:
        layers: The number of blocks, or a pair of those of an encoder and of its decoder, or a
            built model to count them in. In a model with both, the paths of the weights of the
            decoder, and of no others, must contain `decoder`. In a model without the names of
            KerasHub, the branches are found in its graph, and the decoder by its cross-attention.
        part: What a single stack of blocks is, `"encoder"` or `"decoder"`.
        strict: Whether to refuse a model with normalization layers.

    Raises:
        ValueError: If the model has normalization layers, or no blocks of an attention layer and
            two kernels.

    Example:
        >>> from keras_initx import recipes
        >>> round(recipes.t_fixup(6)["*/value/kernel"].factor, 4)
        0.4281
        >>> rules = recipes.t_fixup((3, 3))
        >>> [round(rules[f"{name}/value/kernel"].factor, 4) for name in ("*", "*decoder*")]
        [0.5091, 0.4387]

    Reference:
        Huang, Perez, Ba and Volkovs, "Improving transformer optimization through better
        initialization", ICML 2020, section 3.2.
    """
    check_choice("part", part, get_args(Part))
    check_flag("strict", strict)
    if strict:
        check_not_normalized("layers", layers, "`gpt2` or `deepnorm`")
    parts = _unnamed(layers, _T_FIXUP)
    if parts is not None:
        return _t_fixup_by_graph(parts, part)
    encoder, decoder = _blocks(layers)
    factor, decoder_factor = _factors_of_t_fixup(encoder, decoder, part)
    rules = _scaled(_VALUES, factor, decoder_factor)
    rules["*kernel"] = _glorot()
    if decoder_factor is not None:
        rules[f"{_DECODER}*token_embedding/embeddings"] = _embedded(decoder)
    rules["*token_embedding/embeddings"] = _embedded(encoder)
    rules["*bias"] = "zeros"
    return rules


def _t_fixup_by_graph(parts: Parts, part: Part) -> Recipe:
    """Return the rules of T-Fixup for a model with names of its own."""
    encoder, decoder = _stacks(parts)
    factors = _factors_of_t_fixup(encoder.blocks, decoder.blocks, part)
    rules = _of_values((encoder, decoder), factors)
    rules["*kernel"] = _glorot()
    rules |= dict.fromkeys(encoder.tokens, _embedded(encoder.blocks))
    if decoder.tokens:
        rules |= dict.fromkeys(decoder.tokens, _embedded(decoder.blocks))
    rules["*bias"] = "zeros"
    return parts.recognized(rules)


def _factors_of_t_fixup(encoder: int, decoder: int, part: Part) -> tuple[float, float | None]:
    """Return the factors of an encoder, or of the only stack, and of a decoder beside it."""
    if decoder:
        return 0.67 * encoder**-0.25, (9 * decoder) ** -0.25
    if part == "decoder":
        return (9 * encoder) ** -0.25, None
    return 0.67 * encoder**-0.25, None


def _embedded(blocks: int) -> Scaled:
    """Return what T-Fixup gives to the embeddings of tokens of a stack."""
    embedding = VarianceScaling(1.0, "fan_out", "untruncated_normal")
    return Scaled(embedding, (9 * blocks) ** -0.25)


@recipe(
    kind=_DEEPNORM,
    sources="Wang and others, 2022, figure 2",
    marks=lambda network: network.order_of_pair is False,
    refuses=False,  # names of KerasHub show it too
)
def deepnorm(layers: Layers) -> Recipe:
    """Return the rules of DeepNorm: Glorot normal weights, most of them smaller with the depth.

    They are for transformers that normalize after each sum.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `beta`. Query and key kernels get Glorot normal weights.

    DeepNorm also needs a change to the architecture, which you make in the model: `norm(alpha * x +
    branch(x))` instead of `norm(x + branch(x))`. Without it the weights are too small.

    In one stack of `N` blocks, `alpha` is `(2 N)^(1/4)` and `beta` is `(8 N)^(-1/4)`. In an encoder
    of `N` blocks beside a decoder of `M`, they are `0.81 (N^4 M)^(1/16)` and `0.87 (N^4
    M)^(-1/16)`; in that decoder, `(3 M)^(1/4)` and `(12 M)^(-1/4)`.

    These factors are the paper's. In its authors' later library, TorchScale, query, key and value
    kernels are `sqrt(2)` times smaller and drawn from uniform distributions.

    Args:
        layers: See `t_fixup`.

    Raises:
        ValueError: If the model has no blocks of an attention layer and two kernels, gates as in
            Llama, or a normalization before each branch, as GPT-2 has.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.deepnorm(2)["*/value/kernel"].factor
        0.5
        >>> rules = recipes.deepnorm((3, 3))
        >>> [round(rules[f"{name}/value/kernel"].factor, 4) for name in ("*", "*decoder*")]
        [0.6172, 0.4082]

    Reference:
        Wang, Ma, Dong, Huang, Zhang and Wei, "DeepNet: scaling transformers to 1,000 layers",
        arXiv:2203.00555, 2022, figure 2.
    """
    check_normalization("layers", layers, is_first=False)
    if isinstance(layers, keras.Model):
        gates = matching_paths("*feedforward_gate_dense*", paths(layers))
        if gates:
            raise ValueError(
                "`layers` must be a model whose feed-forward networks have two kernels; for one "
                f"with gates use `llama`. Received: layers={layers.name!r} with {gates[0]!r}"
            )
    parts = _unnamed(layers, _DEEPNORM)
    if parts is not None:
        return _deepnorm_by_graph(parts)
    rules = _scaled(_VALUES, *_betas(*_blocks(layers)))
    rules["*/query/kernel"] = _glorot()
    rules["*/key/kernel"] = _glorot()
    return rules


def _deepnorm_by_graph(parts: Parts) -> Recipe:
    """Return the rules of DeepNorm for a model with names of its own."""
    if parts.found.normalizes_first is not False:
        raise parts.unfitting
    encoder, decoder = _stacks(parts)
    rules = _of_values((encoder, decoder), _betas(encoder.blocks, decoder.blocks))
    rules |= dict.fromkeys((*encoder.queries_and_keys, *decoder.queries_and_keys), _glorot())
    return parts.recognized(rules)


def _betas(encoder: int, decoder: int) -> tuple[float, float | None]:
    """Return the factors of an encoder, or of the only stack, and of a decoder beside it."""
    if not decoder:
        return (8 * encoder) ** -0.25, None
    return 0.87 * (encoder**4 * decoder) ** (-1 / 16), (12 * decoder) ** -0.25


def _unnamed(layers: Layers, required: str) -> Parts | None:
    """Return the parts of a model whose kernels are not called as in KerasHub, otherwise `None`."""
    if not isinstance(layers, keras.Model):
        return None
    network = network_of("layers", layers)
    if all(map(network.has, _VALUES)):
        return None
    return Parts("layers", network, required)


class _Stack(NamedTuple):
    """The kernels of a stack of blocks.

    Attributes:
        blocks: The number of blocks.
        values: The paths of the kernels of values, outputs and feed-forward networks.
        queries_and_keys: The paths of those of queries and keys.
        tokens: Those of the embeddings of tokens, of a decoder if it has its own.
    """

    blocks: int
    values: list[str]
    queries_and_keys: list[str]
    tokens: list[str]


def _stacks(parts: Parts) -> tuple[_Stack, _Stack]:
    """Return the only stack and an empty one, or those of an encoder and of its decoder."""
    encoder, decoder = parts.stacks
    tokens = [weight.path for weight in parts.kernels_in(parts.found.tokens)]
    own = []
    if decoder:
        own = parts.starts_of(decoder)
        own = [path for path in tokens if path in own and path not in parts.starts_of(encoder)]
    tokens = [path for path in tokens if path not in own]
    return _stack(parts, encoder, 1, tokens), _stack(parts, decoder, 2, own)


def _stack(parts: Parts, branches: Sequence[Branch], attentions: int, tokens: list[str]) -> _Stack:
    """Return the kernels of a stack whose blocks have so many branches with attention."""
    values = []
    queries_and_keys = []
    count = 0
    for branch in branches:
        kernels = parts.kernels_in(branch.operations)
        attention = [part for part in branch.operations if part in parts.found.attention]
        if len(attention) > 1 or len(kernels) != (4 if attention else 2):
            end = parts.last_kernel(branch)
            raise parts.refused(
                f"{len(kernels)} kernels in the branch that ends with {end!r}, which must have an "
                "attention layer alone or two kernels"
            )
        count += len(attention)
        for weight in kernels:
            if attention and weight.layer.name in ("query", "key"):
                queries_and_keys.append(weight.path)
            else:
                values.append(weight.path)
    blocks = len(branches) - count
    if count != attentions * blocks:
        raise parts.refused(
            f"{count} branches with an attention layer of Keras, and {blocks} without, which must "
            + (
                "be as many"
                if attentions == 1
                else "be half as many in a decoder beside an encoder"
            )
        )
    return _Stack(blocks, values, queries_and_keys, tokens)


def _of_values(stacks: Iterable[_Stack], factors: Iterable[float | None]) -> Recipe:
    """Return rules for the kernels of values and outputs of stacks, each with its factor."""
    rules: Recipe = {}
    for stack, factor in zip(stacks, factors, strict=True):
        if factor is not None:
            rules |= dict.fromkeys(stack.values, Scaled(_glorot(), factor))
    return rules


def _blocks(layers: Layers) -> tuple[int, int]:
    """Return the number of blocks of the only stack and 0, or those of an encoder and of a decoder.

    Raises:
        TypeError: If `layers` is neither a model nor one or two integers.
        ValueError: If it is not positive, or a model with other names.
    """
    if isinstance(layers, tuple) and len(layers) == 2:
        encoder = int(check_count("layers", layers[0]))
        decoder = int(check_count("layers", layers[1]))
        return encoder, decoder
    if not isinstance(layers, keras.Model):
        return int(check_count("layers", layers)), 0
    outputs = matched("layers", layers, *_VALUES)
    decoder = len(matching_paths(f"{_DECODER}*", outputs))
    if 0 < decoder < len(outputs):
        return len(outputs) - decoder, decoder
    crossing = network_of("layers", layers).cross_attention
    if crossing:
        raise ValueError(
            "`layers` must be a model with one stack of blocks, or with an encoder and a decoder "
            "where the paths of the decoder's weights, and only those, contain 'decoder'; "
            "otherwise pass the two numbers and edit the patterns in the returned dict. Received: "
            f"layers={layers.name!r} with {crossing[0]!r}"
        )
    return len(outputs), 0


def _scaled(values: Sequence[str], factor: float, decoder_factor: float | None) -> Recipe:
    """Return rules for value and output kernels, first those of a decoder beside an encoder."""
    rules: Recipe = {}
    if decoder_factor is not None:
        for pattern in values:
            rules[f"{_DECODER}{pattern}"] = Scaled(_glorot(), decoder_factor)
    for pattern in values:
        rules[pattern] = Scaled(_glorot(), factor)
    return rules


def _glorot() -> VarianceScaling:
    """Return the Glorot normal initializer of the papers, which is not truncated."""
    return VarianceScaling(mode="fan_avg", distribution="untruncated_normal")


@recipe(
    kind="a T5, an encoder beside a decoder",
    sources="Raffel and others, 2020, by its code",
    marks=("*query_projector/kernel",),
)
def t5(model: keras.Model) -> Recipe:
    """Return the rules of T5: LeCun normal kernels, smaller for queries, embeddings from `N(0, 1)`.

    Kernels get `N(0, 1 / fan_in)`. T5's attention does not divide by the square root of the size
    `k` of its heads, so query kernels are divided by it: they get `N(0, 1 / (d k))`, where `d` is
    the size of the embeddings. Relative position biases get `N(0, 1 / d)`.

    These are the numbers of the authors' code and of Hugging Face. Logits from the token embeddings
    must be divided by `sqrt(d)`, as KerasHub does. A table for the logits alone gets `N(0, 1 / d)`,
    as in the authors' code; Hugging Face has `N(0, 1)`, without the division.

    Args:
        model: A built model with the layer names of KerasHub's `T5Backbone`.

    Example:
        >>> from keras_initx import recipes
        >>> ids, places = keras.Input((6,)), keras.Input((6, 6))
        >>> tokens = keras.layers.Embedding(50, 64, name="token_embedding")(ids)
        >>> queries = keras.layers.Dense(64, name="query_projector")(tokens)
        >>> biases = keras.layers.Embedding(32, 4, name="self_attention")(places)
        >>> rules = recipes.t5(keras.Model([ids, places], [queries, biases]))
        >>> rules["*query_projector/kernel"].stddev == (64 * 16) ** -0.5
        True

    Reference:
        Raffel and others, "Exploring the limits of transfer learning with a unified text-to-text
        transformer", JMLR 2020, by its code in Mesh TensorFlow. `T5PreTrainedModel` in Hugging
        Face's transformers.
    """
    queries = "*query_projector/kernel"
    biases = "*self_attention/embeddings"
    embeddings = "*token_embedding/embeddings"
    matched("model", model, queries, biases, embeddings)
    size, width = matching(model, queries)[0].shape
    heads = matching(model, biases)[0].shape[-1]
    return {
        queries: RandomNormal(stddev=(size * width / heads) ** -0.5),
        biases: RandomNormal(stddev=size**-0.5),
        "*reverse_embeddings": RandomNormal(stddev=size**-0.5),
        embeddings: RandomNormal(stddev=1.0),
        "*kernel": VarianceScaling(1.0, "fan_in", "untruncated_normal"),
    }
