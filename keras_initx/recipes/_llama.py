"""Recipes for decoders with gated feed-forward networks: Llama, its successors, and Gemma."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import keras
import numpy as np

from keras_initx._array_files import Stored
from keras_initx._typing import Array, Shape
from keras_initx.initializers import RandomNormal
from keras_initx.models import as_stored
from keras_initx.recipes._blocks import matched
from keras_initx.recipes._clip import NAMES_OF_CLIP
from keras_initx.recipes._network import Network, Weights, network_of
from keras_initx.recipes._recipe import Recipe, recipe, truncated_normal
from keras_initx.structure import matching_paths

__all__ = ["gemma", "llama"]

# Names in KerasHub, in Hugging Face's transformers, where the first Gemma has them too, and in the
# code of the authors.
_NAMES = (
    "*/feedforward_gate_dense/kernel",
    "*/expert_feedforward_gate_dense",
    "*.mlp.gate_proj.weight",
    "*.mlp.gate_up_proj.weight",
    "*.mlp.experts.*gate_up_proj",
    "*.mlp.experts.*.gate_proj.weight",
    "*.block_sparse_moe.*.w1.weight",
    "*.feed_forward.*w1.weight",
    "*.blocks.*.ff_proj.weight",
)
_GATES_OF_GEMMA = "*decoder_block_*/ffw_gating/kernel"
# Names in KerasHub, in Hugging Face's transformers, in the code of Meta and Mistral, and of OLMo.
_TOKENS = (
    "*token_embedding/embeddings",
    "*embed_tokens.weight",
    "*tok_embeddings.weight",
    "*.wte.weight",
)
_LOGITS = (
    "*token_embedding/reverse_embeddings",
    "*lm_head.weight",
    "output.weight",
    "*transformer.ff_out.weight",
)
# The ends of the two branches of a block.
_ATTENTION_OUTPUT = (
    "*/attention_output/kernel",
    "*.self_attn.o_proj.weight",
    "*.attention.wo.weight",
    "*.attn_out.weight",
)
_FEEDFORWARD_OUTPUT = (
    "*feedforward_output_dense/kernel",
    "*/expert_feedforward_output_dense",
    "*.down_proj.weight",
    "*.experts.down_proj",
    "*.w2.weight",
    "*.blocks.*.ff_out.weight",
)
# The kernels that gates multiply.
_GATED = ("*/feedforward_intermediate_dense/kernel", "*.up_proj.weight", "*.w3.weight")
# All kernels. Those of experts may have no layers of their own.
_KERNELS = (
    "*kernel",
    "*/expert_feedforward_*",
    "*.weight",
    "*.experts.gate_up_proj",
    "*.experts.down_proj",
)
# Where kernels are called weights, so are the scales of normalizations.
_SCALES = ("*norm.weight", "*ln_f.weight")
_BLOCK = re.compile(r"(?:layers?|blocks?)[._](\d+)")


def _has_gates(network: Network) -> bool:
    # There may be an encoder of images with the names of CLIP, for which there are no rules.
    return network.has(*_NAMES) and not network.has(*NAMES_OF_CLIP)


def _adds_one_to_scales(network: Network) -> bool:
    """Return whether the normalizations of arrays with these names add 1 to their scales.

    Those of Gemma and Qwen 3 Next do: most of their scales are 0 at the start, others' 1. After
    training the names decide, which are those of Llama in the first Gemma, and not in later ones.
    """
    weights = network.weights
    if isinstance(weights, keras.Model):
        return False
    scales = matching_paths("*layernorm.weight", network.shapes)
    zeros = 0
    ones = 0
    for name in scales:
        values = _values_of(weights[name])
        zeros += bool((values == 0).all())
        ones += bool((values == 1).all())
    if max(zeros, ones) > len(scales) / 2:
        return zeros > ones
    return network.has("*.pre_feedforward_layernorm.weight")


def _values_of(array: Any) -> Array:
    """Return the values of an array in memory or in a file."""
    stored = array if isinstance(array, Stored) else as_stored(array)
    return np.asarray(stored.read(...))


@recipe(
    kind="a decoder with gated feed-forward networks, and with scales of normalizations that are 1 "
    "at the start, as in Llama, Mistral, Mixtral, Phi 3 and Qwen",
    sources={
        "transformers": "Hugging Face's transformers: every kernel and embedding 0.02",
        "megatron": "Megatron-LM, and torchtitan for Qwen 3 with experts: ends of branches by the "
        "depth",
        "olmo": "OLMo: by the size of the embeddings, ends of branches by the block, truncated at "
        "three standard deviations",
        "torchtitan": "torchtitan for Llama 3: ends of branches and gated kernels by the block, "
        "token embeddings 1. Disputed: torchtitan issue 3334 calls the scale of the gated kernels "
        "and the missing truncation faults",
    },
    marks=lambda network: _has_gates(network) and not _adds_one_to_scales(network),
)
def llama(
    model: Weights,
    *,
    source: Literal["transformers", "megatron", "olmo", "torchtitan"] = "transformers",
) -> Recipe:
    """Return the rules of Llama: all kernels and embeddings from `N(0, 0.02²)`, biases 0.

    Neither the papers nor the published code of Llama and Mistral say how their weights were
    initialized. The rules are those of Hugging Face's transformers for Llama, Mistral, Mixtral,
    Phi 3 and Qwen. In a mixture of experts the router and the experts get them too, and biases that
    balance the experts are 0. The scales of normalizations are 1.

    Other sources scale the projections into the residual stream:

    - `"megatron"`: `0.02 / sqrt(2 L)` in a model of `L` blocks, as in GPT-2; also the experts'.
      Megatron-LM, and torchtitan for Qwen 3 with experts.
    - `"olmo"`, with the size `d` of the embeddings: `N(0, 1 / d)`; in the block number `l`, from 1
      on, the output of the attention `N(0, 1 / (2 d l))`, that of a feed-forward network of `f`
      hidden units `N(0, 1 / (2 f l))`. All are truncated at three standard deviations. OLMo; OLMo 2
      returned to 0.02, so truncated.
    - `"torchtitan"`: `0.02 / sqrt(2 l)`, also for the kernel that a gate multiplies; token
      embeddings from `N(0, 1)`; a kernel for the logits from `N(0, 1 / d)`, truncated at three
      standard deviations. The bounds of the other kernels are 100 standard deviations, so they are
      not truncated here. torchtitan for Llama 3, which has no experts. Two of these numbers are
      disputed: torchtitan issue 3334, open in August 2026, calls it a fault that the kernel that a
      gate multiplies is scaled by the block, since it does not end in the residual stream, and
      that the bounds truncate nothing. The rules are those of the code.

    Args:
        model: A built model with the names of KerasHub, or a dict from names to arrays with those
            of Hugging Face's transformers or of the authors' code, such as a state dict of torch.
        source: Whose numbers: `"transformers"`, `"megatron"`, `"olmo"` or `"torchtitan"`.

    Raises:
        ValueError: If `source` is `"torchtitan"`, and the model has experts.

    Example:
        >>> import numpy as np
        >>> from keras_initx import recipes
        >>> names = ["embed_tokens.weight", "layers.0.mlp.gate_proj.weight", "norm.weight"]
        >>> rules = recipes.llama({name: np.ones((4, 4)) for name in names})
        >>> list(rules)
        ['*norm.weight', '*.weight']
        >>> rules["*.weight"]
        RandomNormal(stddev=0.02)

    Reference:
        Touvron and others, "LLaMA: open and efficient foundation language models",
        arXiv:2302.13971, 2023, by `LlamaPreTrainedModel` of Hugging Face's transformers. Groeneveld
        and others, "OLMo: accelerating the science of language models", ACL 2024, by
        `init_fn: mitchell` of its code. Shoeybi and others, "Megatron-LM: training multi-billion
        parameter language models using model parallelism", arXiv:1909.08053, 2019.
        `torchtitan/models/llama3/__init__.py` of torchtitan.
    """
    shapes = network_of("model", model).shapes
    rules: Recipe = dict.fromkeys(_SCALES, "ones")
    if source == "olmo":
        rules |= _olmo(shapes)
    elif source == "torchtitan":
        rules |= _torchtitan(shapes)
    else:
        if source == "megatron":
            rules |= _megatron(shapes)
        for pattern in (*_KERNELS, "*embeddings"):
            rules.setdefault(pattern, RandomNormal(stddev=0.02))
    rules["*bias"] = "zeros"
    return rules


def _megatron(shapes: Mapping[str, Shape]) -> Recipe:
    blocks = {block for _, block in _by_block(shapes, _ATTENTION_OUTPUT)}
    ends = RandomNormal(stddev=0.02 / math.sqrt(2 * len(blocks)))
    return dict.fromkeys((*_ATTENTION_OUTPUT, *_FEEDFORWARD_OUTPUT), ends)


def _olmo(shapes: Mapping[str, Shape]) -> Recipe:
    size = _embedding_size(shapes)
    rules: Recipe = {}
    for path, block in _by_block(shapes, _ATTENTION_OUTPUT):
        rules[path] = truncated_normal((2 * size * block) ** -0.5, 3.0)
    for path, block in _by_block(shapes, _FEEDFORWARD_OUTPUT):
        experts = shapes[path][0] if len(shapes[path]) == 3 else 1
        hidden = math.prod(shapes[path]) // (experts * size)
        rules[path] = truncated_normal((2 * hidden * block) ** -0.5, 3.0)
    others = truncated_normal(size**-0.5, 3.0)
    rules |= dict.fromkeys((*_KERNELS, "*embeddings"), others)
    return rules


def _torchtitan(shapes: Mapping[str, Shape]) -> Recipe:
    experts = matching_paths("*expert*", shapes)
    if experts:
        raise ValueError(
            "`source` must be another one for a model with experts, for which torchtitan's Llama "
            f"has no rules. Received: source='torchtitan' and {experts[0]!r}"
        )
    rules: Recipe = dict.fromkeys(_TOKENS, RandomNormal(stddev=1.0))
    logits = truncated_normal(_embedding_size(shapes) ** -0.5, 3.0)
    rules |= dict.fromkeys(_LOGITS, logits)
    for path, block in _by_block(shapes, (*_ATTENTION_OUTPUT, *_FEEDFORWARD_OUTPUT, *_GATED)):
        rules[path] = RandomNormal(stddev=0.02 / math.sqrt(2 * block))
    rules |= dict.fromkeys(_KERNELS, RandomNormal(stddev=0.02))
    return rules


def _embedding_size(shapes: Mapping[str, Shape]) -> int:
    for pattern in _TOKENS:
        for path in matching_paths(pattern, shapes):
            return shapes[path][-1]
    raise ValueError(
        "`model` must have token embeddings, on whose size the rules depend. "
        f"Received: model without {_TOKENS[0]!r}"
    )


def _by_block(shapes: Mapping[str, Shape], patterns: Iterable[str]) -> list[tuple[str, int]]:
    """Return the weights that match one of `patterns`, each with the number of its block from 1."""
    found = []
    for pattern in patterns:
        for path in matching_paths(pattern, shapes):
            number = _BLOCK.search(path)
            if number is None:
                raise ValueError(
                    "`model` must have the number of its block in the name of each kernel, such as "
                    f"'layer_0' or 'layers.0'. Received: {path!r}"
                )
            found.append((path, int(number[1]) + 1))
    return found


def _is_gemma(network: Network) -> bool:
    if network.has(_GATES_OF_GEMMA):
        return True
    # Qwen 3 Next adds 1 to its scales, and has other layers.
    is_qwen = network.has("*.linear_attn.*")
    return _has_gates(network) and _adds_one_to_scales(network) and not is_qwen


@recipe(
    kind="a Gemma, with scales of normalizations that are 0 at the start, to which it adds 1",
    sources={
        "gemma": "Gemma team, 2024, by its code: kernels and embeddings 0.01",
        "transformers": "Hugging Face's transformers: 0.02",
    },
    marks=_is_gemma,
)
def gemma(model: Weights, *, source: Literal["gemma", "transformers"] = "gemma") -> Recipe:
    """Return the rules of Gemma: kernels of the blocks and token embeddings from `N(0, 0.01²)`.

    They are those of the authors' code, for all layers the default of its library. Hugging Face's
    transformers have 0.02: `source="transformers"`. Gemma adds 1 to the scales of its
    normalizations: in a dict of arrays they are 0, in a model they are left to their layers. So is
    an encoder of images. As there, the model must multiply the embeddings by `sqrt(d)` at lookup,
    where `d` is their size; those of KerasHub do.

    Args:
        model: A built model with the layer names of KerasHub's `GemmaBackbone`, or a dict from
            names to arrays with those of Hugging Face's transformers or of the authors' code in
            torch, such as a state dict. The first Gemma has the names of Llama there, and is known
            by the scales of its normalizations.
        source: Whose numbers: `"gemma"` or `"transformers"`.

    Example:
        >>> from keras_initx import recipes
        >>> embedding = keras.layers.Embedding(50, 8, name="token_embedding")
        >>> gating = keras.layers.Dense(16, name="ffw_gating")
        >>> block = keras.Sequential([gating], name="decoder_block_0")
        >>> list(recipes.gemma(keras.Sequential([keras.Input((6,)), embedding, block])))
        ['*decoder_block_*kernel', '*token_embedding/embeddings']

    Reference:
        Gemma team, "Gemma: open models based on Gemini research and technology", arXiv:2403.08295,
        2024, by its code. `GemmaPreTrainedModel` in Hugging Face's transformers.
    """
    drawn = RandomNormal(stddev=0.01 if source == "gemma" else 0.02)
    if isinstance(model, keras.Model):
        tokens = "*token_embedding/embeddings"
        matched("model", model, tokens)
        return dict.fromkeys(("*decoder_block_*kernel", tokens), drawn)
    rules: Recipe = {"*vision_tower.*": None, "*multi_modal_projector.*": None}
    rules["*norm.weight"] = "zeros"
    embeddings = ("*embed_tokens.weight", "*embedder.weight", "*lm_head.weight")
    rules |= dict.fromkeys(("*layers.*_proj.weight", *embeddings), drawn)
    return rules
