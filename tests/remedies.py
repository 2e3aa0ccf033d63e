"""Apply the remedies that `diagnose` prints to the broken networks, as printed, and train them.

    python tests/remedies.py           # prints what becomes of each network on this backend
    python tests/remedies.py --write   # also records it for the page and the tests, beside the other backends

A remedy is a sentence with code in it, often with several alternatives. `applied` runs the code of one of them on the
layers that the verdict names. Those that change the network, such as residual connections, are left to people.
"""

import json
import pathlib
import re
import sys

import architectures
import confusion
import keras
import numpy as np

import keras_initx
from keras_initx.structure import named_layers

RECORDED = pathlib.Path(__file__).parents[1] / "docs" / "remedies.json"
BROKEN = confusion.BROKEN | architectures.BROKEN
STEPS = 50

INITIALIZER = re.compile(r"(bias_initializer=|recurrent_initializer=)?(keras_initx\.[A-Z]\w*\((?:[^()]|\([^()]*\))*\))")
PAIR = re.compile(r"(keras_initx\.\w+\([^()]*\)) or (keras_initx\.\w+\([^()]*\))")
LOSS = re.compile(r"loss=(keras\.losses\.\w+\([^()]*\)|\"\w+\")")
LABELS = re.compile(r"\by = (.+)$")
OPTIMIZER = re.compile(r"keras\.optimizers\.\w+\([^()]*\)")
ACTIVATION = re.compile(r"activation=(None|\"\w+\")")
NAMES = {"keras": keras, "keras_initx": keras_initx}


def alternatives(remedy):
    """Return the alternatives of a remedy, each as a text that says where it is for."""
    texts = []
    for text in re.split(r"; |, or ", remedy):
        pair = PAIR.search(text)
        if pair is None:
            texts.append(text)
        else:
            texts += [text.replace(pair[0], pair[1]), text.replace(pair[0], pair[2])]
    return texts


def applied(network, verdict, text):
    """Return a network with one alternative of a remedy, or None if that is not code.

    Weights are changed in place.
    """
    model, x, y, loss = network
    done = True
    if "numpy.nan_to_num(x)" in text:
        x = np.nan_to_num(x)
    elif text.startswith("standardize the inputs"):
        x = _each(x, _normalized)
        text = text.partition("then")[2]
    elif text.startswith("standardized targets"):
        y = (y - y.mean()) / y.std()
    elif text.startswith("ones for the scale"):
        for layer in _named(model, verdict):
            layer.gamma.assign(keras.ops.ones(layer.gamma.shape))
    elif (found := LABELS.search(text)) is not None:
        y = eval(found[1], NAMES, {"y": y})
    elif (found := OPTIMIZER.search(text)) is not None:
        model.compile(eval(found[0], NAMES), loss)
    elif "keras_initx.lsuv(model, x)" in text:
        keras_initx.lsuv(model, x)
    else:
        done = False
    if (found := LOSS.search(text)) is not None:
        loss, done = eval(found[1], NAMES), True
    if (found := ACTIVATION.search(text)) is not None:
        activation = keras.activations.get(eval(found[1], NAMES))
        for layer in named_layers(model) if "instead of" in text else _named(model, verdict):
            if "instead of" not in text or _ends_in(layer, text):
                layer.activation = activation
        done = True
    expressions = INITIALIZER.findall(text)
    if not expressions and '"initx.glorot_uniform"' in text:
        expressions = [("", "keras_initx.GlorotUniform()")]
    if 'bias_initializer="zeros"' in text:
        expressions.append(("bias_initializer=", "keras.initializers.Zeros()"))
    if "the last layer of each residual branch" in text:
        report = keras_initx.diagnose(model, x)
        ends = {layer.name for layer in report.layers if layer.ends_branch}
        layers = [layer for layer, name in named_layers(model).items() if name in ends]
        _initialize(layers, "keras.initializers.Zeros()", "")
        done = True
    for place in ("", "bias_initializer=", "recurrent_initializer="):
        chosen = [expression for found, expression in expressions if found == place]
        if chosen:
            _initialize(_reached(model, verdict, text), chosen[0], place)
            done = True
    return (model, x, y, loss) if done else None


def _each(x, change):
    """Return inputs of which those that are numbers are changed."""
    parts = x if isinstance(x, list) else [x]
    changed = [change(part) if np.issubdtype(part.dtype, np.floating) else part for part in parts]
    if not isinstance(x, list) and changed[0] is x:
        changed = [change(x.astype("float32"))]
    return changed if isinstance(x, list) else changed[0]


def _normalized(x):
    layer = keras.layers.Normalization()
    layer.adapt(x)
    return keras.ops.convert_to_numpy(layer(x))


def _named(model, verdict):
    """Return the layers that a verdict names."""
    return [layer for layer, name in named_layers(model).items() if name in verdict.layers]


def _reached(model, verdict, text):
    """Return the layers that a remedy is for: the named ones, or all that come before them too."""
    named = _named(model, verdict)
    if "queries and keys" in text:
        return [layer for layer in named_layers(model) if layer.name in ("query", "key")]
    if "all layers" in text:
        return list(named_layers(model))
    if "all earlier layers" in text and named:
        layers = list(named_layers(model))
        return layers[: layers.index(named[-1]) + 1]
    return named


def _ends_in(layer, text):
    activation = getattr(layer, "activation", None)
    return activation is not None and f"instead of {activation.__name__}" in text


def _initialize(layers, expression, place):
    """Give kernels, biases or recurrent kernels new values, each by an initializer of its own."""
    for layer in layers:
        for weight in layer.trainable_weights:
            is_bias = weight.name == "bias"
            kind = {"bias": "bias_initializer="}.get(weight.name, "")
            if weight.name == "recurrent_kernel" and place.startswith("recurrent"):
                kind = place
            if kind == place and (is_bias or len(weight.shape) > 1):
                initializer = eval(expression, NAMES)
                if is_bias and isinstance(layer, keras.layers.RNN):
                    layer.cell.bias_initializer = initializer
                weight.assign(initializer(weight.shape))


def loss_after(network, steps=STEPS):
    """Return the loss after steps of Adam on the whole batch, or None if Keras raises an error.

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
    return float(f"{model.metrics[0].result():.2g}")


def treated(name, train=True):
    """Return what becomes of a broken network: whether its first verdict goes with each alternative of its remedy.

    With `train` also the loss after some steps, without the remedy and with the first alternative.
    """
    _, first = diagnosed(*built(name))
    result = {"problem": first.problem, "remedy": first.remedy, "gone": None, "left": None, "losses": None}
    for text in alternatives(first.remedy):
        network = built(name)
        # Some layers are built by the diagnosis.
        diagnosed(*network)
        network = applied(network, first, text)
        if network is None:
            continue
        left, _ = diagnosed(*network)
        is_first = result["gone"] is None
        result["gone"] = result["gone"] is not False and first.problem not in left
        if not is_first:
            continue
        result["left"] = left
        if network[2] is not None and train:
            after = loss_after(network)
            result["losses"] = [loss_after(built(name)), after]
    return result


def built(name):
    """Return a broken network, each time with the same weights and names."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    build, _ = BROKEN[name]
    return build()


def diagnosed(model, x, y, loss):
    """Return the names of the problems, and the verdict on the first of them."""
    problems = keras_initx.diagnose(model, x, y, loss=loss).problems
    return [verdict.problem for verdict in problems], next(iter(problems), None)


def main():
    results = {}
    for name in BROKEN:
        results[name] = result = treated(name)
        print(f"{result['gone']!s:6}{name}: {result['problem']}; left: {result['left']}; loss: {result['losses']}")
    if "--write" in sys.argv:
        recorded = json.loads(RECORDED.read_text()) | {keras.backend.backend(): results}
        RECORDED.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
