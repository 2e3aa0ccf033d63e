"""Single class: an output of one unit for several classes."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._remedies import propose_activation
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose.losses.labels import has_sign_labels
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule("single class")
def single_class(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a softmax of one unit.

    Reported if:
        - An output of the model is a softmax of one unit.
        - A crossentropy of several classes gets an output of one unit.

    Level:
        error

    Why:
        The only probability is always 1, whatever the weights are. No gradient passes back.

    Typical causes:
        - a classifier for two classes that ends in `Dense(1, "softmax")`
        - `sparse_categorical_crossentropy` after `Dense(1)`

    Fix:
        For two classes, use a sigmoid with binary crossentropy. If you have more classes, use one
        unit for each.
    """
    heads = dict(pair_with_heads(layers, diagnosis.probe(LossProbe).heads))
    single = []
    for layer, head in heads.items():
        if head.units == 1 and head.loss.kind in ("categorical", "sparse"):
            single.append(layer)
    hit = []
    for layer in layers:
        is_softmax = layer.makes_output and layer.activation == "softmax"
        has_one_unit = layer.shape is not None and layer.shape[-1] == 1
        if layer in single or (is_softmax and has_one_unit):
            hit.append(layer)
    if not hit:
        return
    first = hit[0]
    evidence = (
        f"{first.title} has one unit, and a softmax of one unit is always 1{write_count(hit)}. No "
        "gradient passes back through it"
    )
    first_head = heads.get(first)
    binary = propose_activation("sigmoid", first, "binary_crossentropy", first_head)
    text = f"for two classes, {binary}"
    if first_head is not None and has_sign_labels(first_head):
        text += ", with labels 0 and 1: y = (y + 1) / 2"
    numbers = Remedy('for numbers, set activation=None and loss="mse"')
    yield Finding(hit, evidence, Remedy(text).otherwise(numbers, "; "), "error")
