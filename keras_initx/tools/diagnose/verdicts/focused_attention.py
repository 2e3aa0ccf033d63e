"""Focused attention: queries that give nearly all of their weight to a single key."""

from collections.abc import Iterator

import keras

from keras_initx.initializers._variance_named import GlorotUniform
from keras_initx.tools.diagnose._attention import AttentionProbe
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._drawn_anew import choice, drawn, not_yet_drawn
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, layer_count, rule
from keras_initx.tools.diagnose._seen import SeenLayer, kernels_of, layers_until, seen_layers
from keras_initx.tools.diagnose.remedies.large_outputs import smaller_rows

# Share of its weight that a query gives to a single key, on average, above which the softmax of
# attention passes little gradient.
ATTENTION_FOCUS = 0.75
# A kernel of He gives standardized inputs a standard deviation of 1.4.
_LARGE_QUERIES = 2


@rule("focused attention", beside=["exploding"])
def focused_attention(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report queries that give nearly all of their weight to a single key.

    Finds:
        an attention layer whose queries give a single one of at least {LEAST_KEYS} keys more than
        {ATTENTION_FOCUS:g} of their weight on average

    Why:
        scores of standard deviation 1 give a tenth to a half, those of 6 among 32 keys three
        quarters: then most softmaxes are saturated, and queries and keys hardly learn (Vaswani and
        others, 2017)

    Level:
        warning

    Remedy:
        `GlorotUniform` for queries and keys, scores divided by the square root of the size of a
        head
    """
    probe = of.probe(AttentionProbe)
    found = probe.focus
    hit = []
    for layer in layers:
        if found.get(layer.layer, 0.0) > ATTENTION_FOCUS:
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: found[layer.layer])
    share = found[worst.layer]
    evidence = (
        f"the queries of {worst.title}, of standard deviation {worst.signal.std:.3g}, give a "
        f"single key {share:.0%} of their weight on average{layer_count(hit)}: they get little "
        "gradient"
    )
    # All of them: a layer whose scores are a little smaller has the same kernels.
    makers: set[keras.Layer] = set()
    for maker in found:
        makers.update(probe.pairs.get(maker, (maker,)))
    kernels = kernels_of(layer for layer in seen_layers(of) if layer.layer in makers)
    choices = not_yet_drawn([choice(GlorotUniform())], kernels)
    scaled = Remedy(
        "scores divided by the square root of the size of a head, as in "
        "keras.layers.MultiHeadAttention"
    )
    normalized: Remedy | None = None
    if worst.layer not in of.probe(NormalizedProbe).layers:
        normalized = Remedy("a normalization before the attention layer")
    # Queries of this size give scores of size 1 if these are scaled.
    if worst.signal.std < _LARGE_QUERIES:
        causes: list[Remedy | None] = [scaled, normalized]
    elif choices:
        causes = [drawn(choices, kernels, "smaller kernels of queries and keys: "), normalized]
    else:
        causes = [smaller_rows(layers_until(worst, of)), normalized, scaled]
    first, *others = [remedy for remedy in causes if remedy is not None]
    for other in others:
        first = first.otherwise(other)
    yield Finding(hit, evidence, first)
