"""A recipe for decoders with gated feed-forward networks: Llama and its successors."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from keras_initx._checks import check_choice
from keras_initx._recipe_names import registered
from keras_initx._typing import Shape
from keras_initx.initializers import RandomNormal
from keras_initx.recipes._architecture import check_architecture
from keras_initx.recipes._fit import Recipe, Weights, for_names, truncated_normal
from keras_initx.structure import matching_paths

__all__ = ["llama"]

LlamaSource = Literal["transformers", "megatron", "olmo", "torchtitan"]

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


@registered
def llama(model: Weights, *, source: LlamaSource = "transformers") -> Recipe:
    """Return the rules of Llama: all kernels and embeddings from `N(0, 0.02²)`, biases 0.

    Neither the papers nor the published code of Llama and Mistral say how their weights were
    initialized. The rules are those of Hugging Face's transformers for Llama, Mistral, Mixtral,
    Phi 3 and Qwen. In a mixture of experts the router and the experts get them too, and biases that
    balance the experts are 0. The scales of normalizations are 1.

    Other sources scale the projections into the residual stream:

    - `"megatron"`: `0.02 / sqrt(2 L)` in a model of `L` blocks, as in GPT-2; also the experts'.
      Megatron-LM, and torchtitan for Qwen 3.
    - `"olmo"`, with the size `d` of the embeddings: `N(0, 1 / d)`; in the block number `l`, from 1
      on, the output of the attention `N(0, 1 / (2 d l))`, that of a feed-forward network of `f`
      hidden units `N(0, 1 / (2 f l))`. All are truncated at three standard deviations. OLMo; OLMo 2
      returned to 0.02, so truncated.
    - `"torchtitan"`: `0.02 / sqrt(2 l)`, also for the kernel that a gate multiplies; token
      embeddings from `N(0, 1)`; a kernel for the logits from `N(0, 1 / d)`, truncated at three
      standard deviations. The bounds of the other kernels are 100 standard deviations, so they are
      not truncated here. torchtitan for Llama 3, which has no experts.

    Args:
        model: A built model with the names of KerasHub, or a dict from names to arrays with those
            of Hugging Face's transformers or of the authors' code, such as a state dict of torch.
            Rules that match none of its weights are left out.
        source: Whose numbers: `"transformers"`, `"megatron"`, `"olmo"` or `"torchtitan"`.

    Returns:
        A dict of rules for `keras_initx.initialize` and `keras_initx.audit`.

    Raises:
        TypeError: If `model` is neither a Keras model nor a dict.
        ValueError: If it is not built or has another architecture, if `source` is invalid, or is
            `"torchtitan"` and the model has experts.

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
    check_choice("source", source, get_args(LlamaSource))
    shapes = check_architecture("model", model, "llama")
    recipe: Recipe = dict.fromkeys(_SCALES, "ones")
    if source == "olmo":
        recipe |= _olmo(shapes)
    elif source == "torchtitan":
        recipe |= _torchtitan(shapes)
    else:
        if source == "megatron":
            recipe |= _megatron(shapes)
        for pattern in (*_KERNELS, "*embeddings"):
            recipe.setdefault(pattern, RandomNormal(stddev=0.02))
    recipe["*bias"] = "zeros"
    return for_names(recipe, shapes)


def _megatron(shapes: Mapping[str, Shape]) -> Recipe:
    blocks = {block for _, block in _by_block(shapes, _ATTENTION_OUTPUT)}
    ends = RandomNormal(stddev=0.02 / math.sqrt(2 * len(blocks)))
    return dict.fromkeys((*_ATTENTION_OUTPUT, *_FEEDFORWARD_OUTPUT), ends)


def _olmo(shapes: Mapping[str, Shape]) -> Recipe:
    size = _embedding_size(shapes)
    recipe: Recipe = {}
    for path, block in _by_block(shapes, _ATTENTION_OUTPUT):
        recipe[path] = truncated_normal((2 * size * block) ** -0.5, 3.0)
    for path, block in _by_block(shapes, _FEEDFORWARD_OUTPUT):
        experts = shapes[path][0] if len(shapes[path]) == 3 else 1
        hidden = math.prod(shapes[path]) // (experts * size)
        recipe[path] = truncated_normal((2 * hidden * block) ** -0.5, 3.0)
    others = truncated_normal(size**-0.5, 3.0)
    recipe |= dict.fromkeys((*_KERNELS, "*embeddings"), others)
    return recipe


def _torchtitan(shapes: Mapping[str, Shape]) -> Recipe:
    experts = matching_paths("*expert*", shapes)
    if experts:
        raise ValueError(
            "`source` must be another one for a model with experts, for which torchtitan's Llama "
            f"has no rules. Received: source='torchtitan' and {experts[0]!r}"
        )
    recipe: Recipe = dict.fromkeys(_TOKENS, RandomNormal(stddev=1.0))
    logits = truncated_normal(_embedding_size(shapes) ** -0.5, 3.0)
    recipe |= dict.fromkeys(_LOGITS, logits)
    for path, block in _by_block(shapes, (*_ATTENTION_OUTPUT, *_FEEDFORWARD_OUTPUT, *_GATED)):
        recipe[path] = RandomNormal(stddev=0.02 / math.sqrt(2 * block))
    recipe |= dict.fromkeys(_KERNELS, RandomNormal(stddev=0.02))
    return recipe


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
