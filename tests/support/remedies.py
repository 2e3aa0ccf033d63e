"""Apply the remedies of `diagnose` that change weights to the broken networks."""

import architectures
import confusion
import keras

import keras_initx

BROKEN = confusion.BROKEN | architectures.BROKEN


def of_weights(remedy):
    """Return the alternatives of a remedy that draw weights anew, or scale them to the data."""
    return [one for one in (remedy, *remedy.others) if one.rules or one.lsuv]


def applied(network, remedy):
    """Return a network with a remedy of weights, which are changed in place."""
    model, x, y, loss = network
    if remedy.rules:
        keras_initx.initialize(model, {**remedy.rules, "*": None}, seed=0)
    if remedy.lsuv:
        keras_initx.lsuv(model, x, seed=0)
    return model, x, y, loss


def built(name):
    """Return a broken network, each time with the same weights and names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    build, _ = BROKEN[name]
    return build()


def diagnosed(model, x, y, loss):
    """Return the problems of a network."""
    return keras_initx.diagnose(model, x, y, loss=loss).problems
