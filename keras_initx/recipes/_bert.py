"""A recipe for encoders of text that normalize after each sum: BERT and its successors."""

from typing import Literal

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers import RandomNormal
from keras_initx.recipes._clip import NAMES_OF_CLIP
from keras_initx.recipes._network import Network, network_of
from keras_initx.recipes._parts import Parts
from keras_initx.recipes._recipe import Recipe, recipe, truncated_normal

__all__ = ["bert"]

# Names of DeBERTa in KerasHub, whose other encoders say that they normalize last, and of the
# authors of BERT.
_NAMES = ("*disentangled_attention_encoder_layer*/kernel", "*attention/self/query/kernel")

_KIND = "an encoder that normalizes after each sum, as BERT does"


def _is_called_bert(network: Network) -> bool:
    return network.has(*_NAMES) or network.normalizes_first is False


def _is_bert(network: Network) -> bool:
    if network.has(*NAMES_OF_CLIP):  # whose encoder of texts may be a BERT
        return False
    return _is_called_bert(network) or network.order_of_text is False


@recipe(
    kind=_KIND,
    sources={
        "bert": "Devlin and others, 2019, by its code, ELECTRA and ALBERT: truncated at two "
        "standard deviations",
        "transformers": "Hugging Face's transformers, RoBERTa, DeBERTa, DistilBERT: not truncated",
    },
    marks=_is_bert,
)
def bert(model: keras.Model, *, source: Literal["bert", "transformers"] = "bert") -> Recipe:
    """Return the rules of BERT: kernels and embeddings from a truncated `N(0, 0.02²)`, biases 0.

    The normal distribution is truncated at two standard deviations, which leaves a standard
    deviation of 0.0176, in the authors' code for BERT, ELECTRA and ALBERT. The paper says nothing
    of it. With `source="transformers"` it is not truncated, as in Hugging Face's transformers and
    in the authors' code for RoBERTa, DeBERTa and DistilBERT.

    Embeddings of tokens, positions, segments and relative positions get the same distribution. In
    Hugging Face's transformers and in fairseq, which has RoBERTa, the embedding of the padding
    token is 0; the rules do not say so.

    Args:
        model: A built model.
        source: Whose numbers: `"bert"` or `"transformers"`.

    Example:
        >>> from keras_initx import recipes
        >>> inputs = keras.Input((6, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
        >>> x = keras.layers.LayerNormalization(name="embeddings_layer_norm")(attention)
        >>> model = keras.Model(inputs, x)
        >>> round(recipes.bert(model)["*kernel"].stddev, 4)
        0.0176
        >>> recipes.bert(model, source="transformers")["*kernel"]
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
    drawn: InitializerLike = RandomNormal(stddev=0.02)
    if source == "bert":
        drawn = truncated_normal(0.02, 2.0)
    rules: Recipe = dict.fromkeys(("*kernel", "*embeddings", "*/rel_embedding"), drawn)
    rules["*bias"] = "zeros"
    network = network_of("model", model)
    if not _is_called_bert(network):
        rules = Parts("model", network, _KIND).recognized(rules)
    return rules
