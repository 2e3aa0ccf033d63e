"""Recipes for plain and recurrent networks, and for scaling the width."""

import keras

from keras_initx.initializers import LSTMForgetBias, Orthogonal
from keras_initx.models._weights import check_model
from keras_initx.recipes._asked import Recipe, for_model


def selu(model: keras.Model) -> Recipe:
    """Return rules for self-normalizing networks: LeCun normal kernels, zero biases.

    With the activation `selu` and inputs of mean 0 and variance 1, signals keep approximately this
    mean and variance. Use `keras.layers.AlphaDropout` for dropout.

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
    """Return rules for recurrent networks: recurrent kernels orthogonal in each gate, forget-gate biases 1.

    Input kernels get Glorot uniform weights. Weights of other layers are initialized by their own
    layers. Recurrent cells must have their default names.

    Args:
        model: See `selu`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or has no recurrent cell with a default name.

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
            "`model` must have an LSTM, a GRU or a simple RNN whose cell has its default name. "
            f"Received: model={model.name!r}"
        )
    return {**found, "*_cell*/kernel": "initx.glorot_uniform"}


def spectral(model: keras.Model) -> Recipe:
    """Return the rules of the spectral condition, for training dynamics that do not depend on the width.

    All kernels get `Spectral`, and biases are 0. Embeddings use the initializers of their layers,
    which do not depend on the width. Learning rates must be scaled with the width as well: see
    `mup`.

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
