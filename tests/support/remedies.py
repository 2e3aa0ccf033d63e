"""Apply the remedies of `diagnose`, which are objects, to the broken networks, and train them.

    python tests/support/remedies.py                     # prints what becomes of each network on this backend
    python tests/support/remedies.py --write             # also records it, for the page and the tests
    python tests/support/remedies.py --write "SGD, 3"    # only of this one

Those that change the layers of a network, such as residual connections, are left to people.
"""

import json
import pathlib
import sys

import architectures
import confusion
import keras

import keras_initx
from keras_initx.structure import named_layers

RECORDED = pathlib.Path(__file__).parents[2] / "docs" / "remedies.json"
BROKEN = confusion.BROKEN | architectures.BROKEN | confusion.STEPWISE
STEPS = 50
# Arguments of layers that can be changed in place.
KEEPING_SHAPES = {"activation", "mask_zero", "rate", "stddev", "value_range"}


def can_be_applied(remedy):
    """Return whether a remedy is more than a text."""
    data = (remedy.inputs, remedy.targets, remedy.examples)
    others = (remedy.rules, remedy.lsuv, remedy.loss, remedy.loss_weights, remedy.optimizer, remedy.layers)
    return any(data) or any(others)


def applied(network, remedy):
    """Return a network with a remedy. Its weights are changed in place."""
    model, x, y, loss = network
    if remedy.inputs is not None:
        x = remedy.inputs(x)
    if remedy.targets is not None:
        y = remedy.targets(y)
    if remedy.examples is not None:
        x, y = remedy.examples(x, y)
    if remedy.loss is not None:
        loss = remedy.loss
    if any(arguments.keys() - KEEPING_SHAPES for arguments in remedy.layers.values()):
        model = made_anew(model, remedy.layers)
    else:
        for layer, name in named_layers(model).items():
            change(layer, remedy.layers.get(name, {}))
    if remedy.rules:
        keras_initx.initialize(model, {**remedy.rules, "*": None}, seed=0)
    if remedy.lsuv:
        keras_initx.lsuv(model, x, seed=0)
    if remedy.optimizer is not None:
        model.compile(remedy.optimizer, loss)
    if remedy.loss_weights is not None:
        optimizer = keras.optimizers.Adam(0.01)
        if model.compiled:
            optimizer = model.optimizer.from_config(model.optimizer.get_config())
        model.compile(optimizer, loss, loss_weights=remedy.loss_weights)
        loss = None  # that it is compiled with, and its weight
    return model, x, y, loss


def change(layer, arguments):
    """Give a layer other arguments that do not change its weights."""
    for name, value in arguments.items():
        if name == "activation":
            value = keras.activations.get(value)
        if name == "mask_zero":
            layer.supports_masking = value
        setattr(layer, name, value)


def made_anew(model, changed):
    """Return a model with layers of other sizes, with the weights of `model` where these have the same shape."""
    names = named_layers(model)

    def with_arguments(layer):
        return type(layer).from_config({**layer.get_config(), **changed.get(names.get(layer), {})})

    new = keras.models.clone_model(model, clone_function=with_arguments)
    for weight, old in zip(new.weights, model.weights, strict=True):
        if weight.shape == old.shape:
            weight.assign(old)
    if model.compiled:
        new.compile(model.optimizer.from_config(model.optimizer.get_config()), model.loss)
    return new


def loss_after(network, factor=1.0, steps=STEPS):
    """Return the loss after steps of Adam on the whole batch, without its factor, or None if Keras raises an error.

    A model that is compiled keeps its optimizer.
    """
    model, x, y, loss = network
    if not model.compiled:
        model.compile(keras.optimizers.Adam(0.01), loss)
    try:
        for _ in range(steps):
            model.reset_metrics()
            model.train_on_batch(x, y)
    except Exception:  # each backend has errors of its own
        return None
    return float(f"{model.metrics[0].result() / factor:.2g}")


def treated(name, train=True):
    """Return what becomes of a broken network: whether its first verdict goes with each alternative of its remedy.

    With `train` also the loss after some steps, without the remedy and with the first alternative.
    """
    steps = 100 if name in confusion.STEPWISE else 0
    _, first = diagnosed(*built(name), steps)
    result = {"problem": first.problem, "remedy": str(first.remedy), "gone": None, "left": None, "losses": None}
    for remedy in filter(can_be_applied, (first.remedy, *first.remedy.others)):
        network = built(name)
        # Some layers are built by the diagnosis.
        diagnosed(*network)
        network = applied(network, remedy)
        left, _ = diagnosed(*network, steps)
        is_first = result["gone"] is None
        result["gone"] = result["gone"] is not False and first.problem not in left
        if not is_first:
            continue
        result["left"] = left
        if network[2] is not None and train:
            after = loss_after(network, remedy.loss_weights or 1.0)
            result["losses"] = [loss_after(built(name)), after]
    return result


def built(name):
    """Return a broken network, each time with the same weights and names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    build, _ = BROKEN[name]
    return build()


def diagnosed(model, x, y, loss, steps=0):
    """Return the names of the problems, and the verdict on the first of them."""
    problems = keras_initx.diagnose(model, x, y, loss=loss, steps=steps).problems
    return [verdict.problem for verdict in problems], next(iter(problems), None)


def main():
    names = [argument for argument in sys.argv[1:] if argument != "--write"] or BROKEN
    recorded = json.loads(RECORDED.read_text())
    results = recorded[keras.backend.backend()]
    for name in names:
        results[name] = result = treated(name)
        print(f"{result['gone']!s:6}{name}: {result['problem']}; left: {result['left']}; loss: {result['losses']}")
    if "--write" in sys.argv:
        recorded[keras.backend.backend()] = {name: results[name] for name in BROKEN if name in results}
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
