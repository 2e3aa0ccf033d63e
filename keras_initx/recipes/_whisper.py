"""A recipe for Whisper, which transcribes speech."""

from typing import Literal

import keras

from keras_initx.initializers import RandomNormal, VarianceScaling
from keras_initx.recipes._recipe import Recipe, recipe

__all__ = ["whisper"]

_EMBEDDINGS = (
    "*token_embedding/embeddings",
    "*token_and_position_embedding/position_embedding/embeddings",
)


@recipe(
    kind="a Whisper, with an encoder and a decoder",
    sources={
        "paper": "Radford and others, 2023, table 17: kernels by their fan-in",
        "transformers": "Hugging Face's transformers: kernels 0.02",
    },
    marks=("*encoder_token_embedding_conv_layer_1/kernel",),
)
def whisper(model: keras.Model, *, source: Literal["paper", "transformers"] = "paper") -> Recipe:
    """Return the rules of Whisper: kernels from `N(0, 1 / fan_in)`, biases 0.

    The paper only says "Gaussian fan-in". It cannot mean embeddings, of which one input is used at
    a time; those of tokens and of the decoder's positions get `N(0, 0.02²)`, as in Hugging Face's
    transformers. Those of the encoder's positions are sines, which no rule changes.

    With `source="transformers"` kernels get `N(0, 0.02²)` too. The published code of the authors is
    for trained weights and leaves all to the defaults of torch.

    Args:
        model: A built model with the names of KerasHub.
        source: Whose numbers: `"paper"` or `"transformers"`.

    Example:
        >>> from keras_initx import recipes
        >>> first = keras.layers.Conv1D(8, 3, name="encoder_token_embedding_conv_layer_1")
        >>> model = keras.Sequential([keras.Input((6, 4)), first])
        >>> recipes.whisper(model, source="transformers")
        {'*kernel': RandomNormal(stddev=0.02), '*bias': 'zeros'}

    Reference:
        Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust speech recognition via
        large-scale weak supervision", ICML 2023, table 17. `WhisperPreTrainedModel` in Hugging
        Face's transformers.
    """
    rules: Recipe = dict.fromkeys(_EMBEDDINGS, RandomNormal(stddev=0.02))
    if source == "paper":
        rules["*kernel"] = VarianceScaling(1.0, "fan_in", "untruncated_normal")
    else:
        rules["*kernel"] = RandomNormal(stddev=0.02)
    rules["*bias"] = "zeros"
    return rules
