"""Recipes for text and speech transformers."""

import math

from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.inspection._patterns import matches_path
from keras_initx.recipes._features import Feature
from keras_initx.recipes._parts import ENDS, Doubt, Part, Roles
from keras_initx.recipes._recipe import LEFT, Computed, Recipe, RoleTable, truncated_normal


def _by_branches() -> Computed:
    return Computed(
        "`N(0, 0.02² / n)` for `n` branches on its path, two in a block",
        lambda part, roles: RandomNormal(stddev=0.02 / math.sqrt(part.role.branches)),
        needs=(Doubt.ENDS, Doubt.LENGTHS),
    )


def _by_fan_in() -> VarianceScaling:
    return VarianceScaling(1.0, "fan_in", "untruncated_normal")


def _bert(source: str) -> RoleTable:
    """Return the rules of BERT: kernels and embeddings from a truncated normal distribution.

    Use it for encoders such as BERT. The authors' code for BERT, ELECTRA and ALBERT truncates the
    normal distribution at two standard deviations; the paper does not mention it. With
    `source="transformers"` the distribution is not truncated, as in Hugging Face's transformers and
    in the authors' code for RoBERTa, DeBERTa and DistilBERT.

    Hugging Face's transformers and fairseq, which has RoBERTa, also set the embedding of the
    padding token to 0. These rules do not.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((6,))
        >>> x = keras.layers.Embedding(50, 8)(tokens)
        >>> attended = keras.layers.MultiHeadAttention(2, 4)(x, x)
        >>> x = keras.layers.LayerNormalization()(x + attended)
        >>> x = keras.layers.LayerNormalization()(x + keras.layers.Dense(8)(x))
        >>> model = keras.Model(tokens, x)
        >>> recipes.bert(model, source="transformers").by_path["dense/kernel"]
        RandomNormal(stddev=0.02)

    Reference:
        Devlin, Chang, Lee and Toutanova, "BERT: pre-training of deep bidirectional transformers for
        language understanding", NAACL 2019, by `modeling.py` of its code. Clark and others,
        "ELECTRA: pre-training text encoders as discriminators rather than generators", ICLR 2020.
        Lan and others, "ALBERT: a lite BERT for self-supervised learning of language
        representations", ICLR 2020. Liu and others, "RoBERTa: a robustly optimized BERT pretraining
        approach", arXiv:1907.11692, 2019, by `init_bert_params` of fairseq. He, Liu, Gao and Chen,
        "DeBERTa: decoding-enhanced BERT with disentangled attention", ICLR 2021, by `nnmodule.py`
        of its code. Sanh, Debut, Chaumond and Wolf, "DistilBERT, a distilled version of BERT",
        arXiv:1910.01108, 2019.
    """
    drawn = truncated_normal(0.02, 2.0) if source == "bert" else RandomNormal(stddev=0.02)
    return {
        **dict.fromkeys(("kernel", "embeddings", "positions", "relative positions"), drawn),
        "bias": "zeros",
    }


bert: Recipe = Recipe(
    "bert",
    table=_bert,
    kind="an encoder that normalizes after each sum, as BERT does",
    sources={
        "bert": "Devlin and others, 2019, by its code, ELECTRA and ALBERT: truncated at two "
        "standard deviations",
        "transformers": "Hugging Face's transformers, RoBERTa, DeBERTa, DistilBERT: not truncated",
    },
    needs=(Feature.LAST_IN_TEXT,),
    refuses=(Feature.CROSS_ATTENTION,),
)


def _gpt2(source: str) -> RoleTable:
    """Return the rules of GPT-2: normal weights, smaller at the ends of branches.

    Use it for transformers that normalize at the start of each branch.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((6,))
        >>> x = keras.layers.Embedding(50, 8)(tokens)
        >>> for _ in range(2):
        ...     y = keras.layers.LayerNormalization()(x)
        ...     x = x + keras.layers.MultiHeadAttention(2, 4)(y, y)
        >>> rules = recipes.gpt2(keras.Model(tokens, x))
        >>> kernel = "multi_head_attention/attention_output/kernel"
        >>> rules.by_path[kernel].stddev == 0.02 / 2**0.5
        True

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask
        learners", OpenAI 2019, section 2.3, and `src/model.py` of its code. `GPT2PreTrainedModel`
        in Hugging Face's transformers.
    """
    by_depth = _by_branches()
    of_positions = 0.01 if source == "openai" else 0.02
    return {
        **dict.fromkeys(ENDS, by_depth),
        "positions": RandomNormal(stddev=of_positions),
        **dict.fromkeys(("embeddings", "kernel", "gate", "expert"), RandomNormal(stddev=0.02)),
        "bias": "zeros",
    }


gpt2: Recipe = Recipe(
    "gpt2",
    table=_gpt2,
    kind="a GPT-2, or another decoder that normalizes before each branch",
    sources={
        "openai": "Radford and others, 2019, by its code: position embeddings 0.01",
        "transformers": "Hugging Face's transformers and nanoGPT: position embeddings 0.02",
    },
    needs=("attended",),
    needs_in_graph=("tokens", Feature.FIRST),
    refuses=(Feature.LAST, Feature.CROSS_ATTENTION),
)


def _llama(source: str) -> RoleTable:
    """Return the rules of Llama: normal kernels and embeddings.

    Neither the papers nor the published code of Llama and Mistral say how their weights were
    initialized. Hugging Face's transformers uses these rules for Llama, Mistral, Mixtral, Phi 3 and
    Qwen. In a mixture of experts they apply to the router and the experts too.

    With `source="megatron"` the kernels at the ends of branches are smaller, as in GPT-2. In a
    gated feed-forward network this is the kernel that reads the product with the gate. Megatron-LM
    divides by the root of `2 N` for the `N` layers of its options. This recipe counts the branches
    on the path of each kernel, which gives the same in a decoder alone. In a T5 the two differ,
    because Megatron-LM takes one `N` for encoder and decoder and does not count cross-attention.

    With `source="torchtitan"` these kernels and the kernels that gates multiply become smaller from
    block to block. torchtitan truncates at 2, which is 100 standard deviations, so the recipe does
    not truncate. It truncates the last kernel at three. The recipe leaves a kernel that holds gate
    and factor, because torchtitan has no such kernel.

    Example:
        >>> from keras_initx import recipes
        >>> gate = keras.layers.Dense(8, name="feedforward_gate_dense")
        >>> block = keras.Sequential([gate], name="transformer_layer_0")
        >>> recipes.llama(keras.Sequential([keras.Input((4,)), block]))
        transformer_layer_0/feedforward_gate_dense/kernel: RandomNormal(stddev=0.02)
        transformer_layer_0/feedforward_gate_dense/bias: zeros

    Reference:
        Touvron and others, "LLaMA: open and efficient foundation language models",
        arXiv:2302.13971, 2023, by `LlamaPreTrainedModel` of Hugging Face's transformers.
        `scaled_init_method_normal` in `megatron/core/utils.py` of Megatron-LM, commit 00611e6e,
        which has it for `linear_proj` in `transformer/attention.py` and `linear_fc2` in
        `transformer/mlp.py`.
        `torchtitan/models/llama3/model/model.py` of torchtitan, commit 018740b7, with its default
        `depth_init=True`.
    """
    drawn = RandomNormal(stddev=0.02)
    # The kernels of experts may have no layers of their own.
    plain = {**dict.fromkeys(("kernel", "gate", "expert", "embeddings"), drawn), "bias": "zeros"}
    if source == "transformers":
        return {**plain, "outer expert": drawn}
    if source == "megatron":
        return {**dict.fromkeys(ENDS, _by_branches()), **plain}
    by_number = Computed(
        "`N(0, 0.02² / (2 i))` in block `i`, from 1",
        lambda part, roles: RandomNormal(stddev=0.02 / math.sqrt(2 * part.role.block)),
        needs=(Doubt.ENDS, Doubt.NUMBERS),
    )
    last = Computed(
        "`N(0, 1 / d)` for its inputs `d`, truncated at three standard deviations",
        lambda part, roles: truncated_normal(part.weight.shape[0] ** -0.5, 3.0),
    )
    return {
        **dict.fromkeys(("attended", "outer", "up"), by_number),
        "gate and up": LEFT,
        "last": last,
        **plain,
        **dict.fromkeys(("expert", "outer expert"), LEFT),
        "embeddings": RandomNormal(stddev=1.0),
    }


llama: Recipe = Recipe(
    "llama",
    table=_llama,
    kind="a decoder with gated feed-forward networks, and with scales of normalizations that are 1 "
    "at the start, as in Llama, Mistral, Mixtral, Phi 3 and Qwen",
    sources={
        "transformers": "Hugging Face's transformers: every kernel and embedding 0.02",
        "megatron": "Megatron-LM: ends of branches smaller with the depth of the model",
        "torchtitan": "torchtitan, as for Llama 3: ends of branches and kernels that gates "
        "multiply, smaller with the number of the block; embeddings 1",
    },
    needs=("gate",),
    refuses=(Feature.CROSS_ATTENTION, Feature.SCALES_PLUS_ONE),
)


# How KerasHub calls the gates of Gemma.
_GATE_OF_GEMMA = "*decoder_block_*/ffw_gating/kernel"


def _gemma(source: str) -> RoleTable:
    """Return the rules of Gemma: normal kernels of the blocks and token embeddings.

    The authors' code uses the defaults of its library for all layers, and the recipe has the same.
    Gemma adds 1 to the scales of its normalizations. The layers initialize these scales themselves,
    and an image encoder too. As in the authors' code, your model must multiply the embeddings by
    `sqrt(d)` at lookup, where `d` is their size; KerasHub's models do.

    Example:
        >>> from keras_initx import recipes
        >>> embedding = keras.layers.Embedding(50, 8, name="token_embedding")
        >>> gating = keras.layers.Dense(16, name="ffw_gating")
        >>> block = keras.Sequential([gating], name="decoder_block_0")
        >>> recipes.gemma(keras.Sequential([keras.Input((6,)), embedding, block]))
        token_embedding/embeddings: RandomNormal(stddev=0.01)
        decoder_block_0/ffw_gating/kernel: RandomNormal(stddev=0.01)

    Reference:
        Gemma team, "Gemma: open models based on Gemini research and technology", arXiv:2403.08295,
        2024, by its code. `GemmaPreTrainedModel` in Hugging Face's transformers.
    """
    stddev = 0.01 if source == "gemma" else 0.02
    drawn = RandomNormal(stddev=stddev)

    def of(part: Part, roles: Roles) -> RandomNormal | None:
        is_inside = part.role.in_branch
        # With the names of KerasHub the decoder is known, and branches of an image encoder are not
        # in it.
        if any(matches_path(_GATE_OF_GEMMA, other.weight.path) for other in roles.parts):
            is_inside = "decoder_block_" in part.weight.path
        return drawn if is_inside else None

    in_blocks = Computed(f"`{drawn!r}` in the blocks of the decoder", of)
    return {"tokens": drawn, "kernel": in_blocks}


gemma: Recipe = Recipe(
    "gemma",
    table=_gemma,
    kind="a decoder with gated feed-forward networks, and with scales of normalizations that are 0 "
    "at the start, to which it adds 1, as in Gemma",
    sources={
        "gemma": "Gemma team, 2024, by its code: kernels and embeddings 0.01",
        "transformers": "Hugging Face's transformers: 0.02",
    },
    needs=("gate", "tokens"),
    refuses=(Feature.CROSS_ATTENTION, Feature.PLAIN_SCALES),
)


def _t5() -> RoleTable:
    """Return the rules of T5: normal kernels by their fan-in, smaller for queries.

    T5's attention does not divide by the square root of the size `k` of its heads. Therefore the
    recipe divides the query kernels by this root.

    The authors' code and Hugging Face have these numbers. None of them depends on the depth of the
    encoder or the decoder. If the token embeddings make the logits, your model must divide the
    logits by `sqrt(d)`, as KerasHub's does. If a table of its own makes the logits, Hugging Face
    draws it from `N(0, 1)` and does not divide.

    Example:
        >>> from keras_initx import recipes
        >>> ids, places = keras.Input((6,)), keras.Input((6, 6))
        >>> tokens = keras.layers.Embedding(50, 64, name="token_embedding")(ids)
        >>> queries = keras.layers.Dense(64, name="query_projector")(tokens)
        >>> biases = keras.layers.Embedding(32, 4, name="self_attention")(places)
        >>> rules = recipes.t5(keras.Model([ids, places], [queries, biases]))
        >>> rules.by_path["query_projector/kernel"].stddev == (64 * 16) ** -0.5
        True

    Reference:
        Raffel and others, "Exploring the limits of transfer learning with a unified text-to-text
        transformer", JMLR 2020, by its code in Mesh TensorFlow. `T5PreTrainedModel` in Hugging
        Face's transformers.
    """

    def of_queries(part: Part, roles: Roles) -> RandomNormal:
        size, width = roles.shape_of("unscaled query")
        heads = roles.shape_of("relative positions")[-1]
        return RandomNormal(stddev=(size * width / heads) ** -0.5)

    by_width = Computed(
        "`N(0, 1 / d)` for the size `d` of the embeddings",
        lambda part, roles: RandomNormal(stddev=roles.shape_of("unscaled query")[0] ** -0.5),
    )
    return {
        "unscaled query": Computed("`N(0, 1 / (d k))`", of_queries),
        "relative positions": by_width,
        "logits": by_width,
        "tokens": RandomNormal(stddev=1.0),
        "kernel": _by_fan_in(),
    }


t5: Recipe = Recipe(
    "t5",
    table=_t5,
    kind="a T5 with the names of KerasHub, an encoder with a decoder",
    sources="Raffel and others, 2020, by its code",
    needs=("unscaled query", "relative positions", "tokens"),
)


def _whisper(source: str) -> RoleTable:
    """Return the rules of Whisper: normal kernels by their fan-in.

    The paper only says "Gaussian fan-in". This cannot apply to embeddings, because a lookup uses
    one input at a time. Embeddings therefore have the numbers of Hugging Face's transformers. The
    positions of the encoder are sines. The published code of the authors only loads trained weights
    and keeps torch's defaults.

    Example:
        >>> from keras_initx import recipes
        >>> first = keras.layers.Conv1D(8, 3, name="encoder_token_embedding_conv_layer_1")
        >>> model = keras.Sequential([keras.Input((6, 4)), first])
        >>> recipes.whisper(model, source="transformers")
        encoder_token_embedding_conv_layer_1/kernel: RandomNormal(stddev=0.02)
        encoder_token_embedding_conv_layer_1/bias: zeros

    Reference:
        Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust speech recognition via
        large-scale weak supervision", ICML 2023, table 17. `WhisperPreTrainedModel` in Hugging
        Face's transformers.
    """
    embedded = RandomNormal(stddev=0.02)
    kernel = _by_fan_in() if source == "paper" else embedded
    return {
        "tokens": embedded,
        "positions": embedded,
        "sines": None,
        "kernel": kernel,
        "bias": "zeros",
    }


whisper: Recipe = Recipe(
    "whisper",
    table=_whisper,
    kind="a Whisper with the names of KerasHub, an encoder and a decoder",
    sources={
        "paper": "Radford and others, 2023, table 17: kernels by their fan-in",
        "transformers": "Hugging Face's transformers: kernels 0.02",
    },
    needs=("frames",),
)
