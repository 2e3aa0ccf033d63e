"""A recipe for Whisper, which transcribes speech."""

from typing import Literal

from keras_initx.initializers import RandomNormal, VarianceScaling
from keras_initx.recipes._network import Weights
from keras_initx.recipes._recipe import Recipe, recipe

__all__ = ["whisper"]

# Where kernels are called weights, so are the scales of normalizations.
_SCALES = ("*layer_norm.weight", "*_ln.weight", "*.ln_post.weight", "*decoder.ln.weight")
# Those of the encoder are sines, and not trained. They are left as they are.
_SINES = ("*encoder.embed_positions.weight", "*encoder.positional_embedding")
_EMBEDDINGS = (
    "*token_embedding/embeddings",
    "*token_and_position_embedding/position_embedding/embeddings",
    "*decoder.embed_tokens.weight",
    "*decoder.embed_positions.weight",
    "*decoder.token_embedding.weight",
    "*decoder.positional_embedding",
    "*proj_out.weight",
)


@recipe(
    kind="a Whisper, with an encoder and a decoder",
    sources={
        "paper": "Radford and others, 2023, table 17: kernels by their fan-in",
        "transformers": "Hugging Face's transformers: kernels 0.02",
    },
    marks=("*encoder_token_embedding_conv_layer_1/kernel", "*encoder.conv1.weight"),
)
def whisper(model: Weights, *, source: Literal["paper", "transformers"] = "paper") -> Recipe:
    """Return the rules of Whisper: kernels from `N(0, 1 / fan_in)`, biases 0.

    The paper only says "Gaussian fan-in". It cannot mean embeddings, of which one input is used at
    a time; those of tokens and of the decoder's positions get `N(0, 0.02²)`, as in Hugging Face's
    transformers. Those of the encoder's positions are sines, which no rule changes.

    With `source="transformers"` kernels get `N(0, 0.02²)` too. The published code of the authors is
    for trained weights and leaves all to the defaults of torch.

    Args:
        model: A built model with the names of KerasHub, or a dict from names to arrays with those
            of Hugging Face's transformers or of the authors, such as a state dict of torch.
        source: Whose numbers: `"paper"` or `"transformers"`.

    Example:
        >>> import numpy as np
        >>> from keras_initx import recipes
        >>> names = ["encoder.conv1.weight", "encoder.conv1.bias", "decoder.ln.weight"]
        >>> list(recipes.whisper({name: np.ones(4) for name in names}))
        ['*decoder.ln.weight', '*.weight', '*bias']

    Reference:
        Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust speech recognition via
        large-scale weak supervision", ICML 2023, table 17. `WhisperPreTrainedModel` in Hugging
        Face's transformers.
    """
    rules: Recipe = dict.fromkeys(_SCALES, "ones")
    rules |= dict.fromkeys(_SINES)
    rules |= dict.fromkeys(_EMBEDDINGS, RandomNormal(stddev=0.02))
    for pattern in ("*kernel", "*.weight"):
        if source == "paper":
            rules[pattern] = VarianceScaling(1.0, "fan_in", "untruncated_normal")
        else:
            rules[pattern] = RandomNormal(stddev=0.02)
    rules["*bias"] = "zeros"
    return rules
