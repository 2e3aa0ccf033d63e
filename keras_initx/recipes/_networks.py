"""Recipes for plain and recurrent networks, and for networks of several widths."""

import keras

from keras_initx.initializers import LSTMForgetBias, Orthogonal
from keras_initx.models._weights import check_model
from keras_initx.recipes._asked import Recipe, for_model


def selu(model: keras.Model) -> Recipe:
    """Return the rules of self-normalizing networks: LeCun's normal weights, biases 0.

    With the activation `selu` and inputs of mean 0 and variance 1, signals then stay near both. Dropout has to be
    `keras.layers.AlphaDropout`.

    Args:
        model: A built model. Rules that match none of its weights are left out.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.selu(keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "selu")]))
        {'*kernel': 'initx.lecun_normal', '*bias': 'zeros'}

    Reference:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NIPS 2017.
    """
    recipe: Recipe = {"*kernel": "initx.lecun_normal", "*bias": "zeros"}
    return for_model(recipe, check_model("model", model))


def orthogonal_rnn(model: keras.Model) -> Recipe:
    """Return rules for recurrent networks: recurrent kernels orthogonal for each gate, forget biases 1.

    Kernels on the inputs get Glorot's uniform weights. What is not part of a recurrent layer gets the initializers of
    its layers. The cells have to have the names that Keras gives them.

    Args:
        model: See `selu`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or has no recurrent cell with one of Keras' names.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(8)])
        >>> list(recipes.orthogonal_rnn(model))
        ['*lstm_cell*/recurrent_kernel', '*lstm_cell*/bias', '*_cell*/kernel']

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks", ICLR 2014. Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network
        architectures", ICML 2015, for the forget bias.
    """
    recipe: Recipe = {
        "*lstm_cell*/recurrent_kernel": Orthogonal(blocks=4),
        "*gru_cell*/recurrent_kernel": Orthogonal(blocks=3),
        "*simple_rnn_cell*/recurrent_kernel": Orthogonal(),
        "*lstm_cell*/bias": LSTMForgetBias(1.0),
    }
    found = for_model(recipe, check_model("model", model))
    if not found:
        raise ValueError(
            "`model` must have an LSTM, a GRU or a simple RNN whose cell has its name from Keras. "
            f"Received: model={model.name!r}"
        )
    return {**found, "*_cell*/kernel": "initx.glorot_uniform"}


def spectral(model: keras.Model) -> Recipe:
    """Return the rules of the spectral condition: networks of all widths start, and learn, alike.

    Every kernel gets `Spectral`, biases 0. Embeddings keep the initializers of their layers, which do not depend on
    the width. The learning rates have to follow the width as well: `mup` tells them.

    Args:
        model: See `selu`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.spectral(keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)]))
        {'*kernel': 'initx.spectral', '*bias': 'zeros'}

    Reference:
        Yang, Simon and Bernstein, "A spectral condition for feature learning", arXiv:2310.17813, 2023.
    """
    recipe: Recipe = {"*kernel": "initx.spectral", "*bias": "zeros"}
    return for_model(recipe, check_model("model", model))
