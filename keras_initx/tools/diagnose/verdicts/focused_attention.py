"""Focused attention: queries that give nearly all of their weight to a single key."""

from collections.abc import Iterator

import keras

from keras_initx.initializers._variance_named import GlorotUniform
from keras_initx.tools.diagnose._attention import AttentionProbe
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_kernels,
    list_layers_until,
    measured_layers,
)
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._redrawing import list_untried, make_choice, propose_redraw
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose.remedies.large_outputs import propose_smaller_rows

# Share of its weight that a query gives to a single key, on average, above which the softmax of
# attention passes little gradient.
ATTENTION_FOCUS = 0.75
# A kernel of He gives standardized inputs a standard deviation of 1.4.
_LARGE_QUERIES = 2


@rule("focused attention", beside=["exploding"])
def focused_attention(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report queries that give nearly all of their weight to a single key.

    Reported if:
        The queries of an attention layer give a single key more than {ATTENTION_FOCUS:g} of their
        weight on average. They have at least {LEAST_KEYS} keys.

    Level:
        warning

    Why:
        Scores of standard deviation 1 give a tenth to a half of the weight to a single key. Scores
        of 6 among 32 keys give three quarters. Then most softmaxes are saturated, and queries and
        keys hardly learn (Vaswani and others, 2017).

    Typical causes:
        - large kernels of queries and keys
        - scores that you do not divide by the square root of the size of a head
        - rows of an embedding that are too large, before attention without a normalization

    Fix:
        - Use `GlorotUniform` for queries and keys.
        - Divide the scores by the square root of the size of a head.
    """
    probe = diagnosis.probe(AttentionProbe)
    shares = probe.focus
    hit = []
    for layer in layers:
        if shares.get(layer.layer, 0.0) > ATTENTION_FOCUS:
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: shares[layer.layer])
    share = shares[worst.layer]
    evidence = (
        f"the queries of {worst.title}, of standard deviation {worst.signal.std:.3g}, give a "
        f"single key {share:.0%} of their weight on average{write_count(hit)}. They get little "
        "gradient"
    )
    # Queries and keys of all attention: where scores are a little smaller, kernels are the same.
    makers: set[keras.Layer] = set()
    for maker in shares:
        makers.update(probe.pairs.get(maker, (maker,)))
    kernels = list_kernels(layer for layer in measured_layers(diagnosis) if layer.layer in makers)
    choices = list_untried([make_choice(GlorotUniform())], kernels)
    divided = Remedy(
        "divide scores by the square root of the size of a head, like "
        "keras.layers.MultiHeadAttention"
    )
    normalized: Remedy | None = None
    if worst.layer not in diagnosis.probe(NormalizedProbe).layers:
        normalized = Remedy("add a normalization before the attention layer")
    # Queries of this size give scores of size 1 once scores are divided.
    if worst.signal.std < _LARGE_QUERIES:
        remedies: list[Remedy | None] = [divided, normalized]
    elif choices:
        remedies = [
            propose_redraw(choices, kernels, "draw smaller kernels of queries and keys: "),
            normalized,
        ]
    else:
        rows = propose_smaller_rows(list_layers_until(worst, diagnosis))
        remedies = [rows, normalized, divided]
    first, *others = [remedy for remedy in remedies if remedy is not None]
    for other in others:
        first = first.otherwise(other)
    yield Finding(hit, evidence, first)
