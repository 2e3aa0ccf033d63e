"""The graph of a pass: where each tensor comes from and goes to."""

import numpy as np
from keras import layers

from keras_initx.inspection._graph import ForwardGraph


def test_a_graph_says_where_each_tensor_comes_from_and_goes_to():
    graph = ForwardGraph()
    x, hidden, other, both, cast, total, unknown, lost = (np.zeros(1) for _ in range(8))
    one, two, norm, last = layers.Dense(1), layers.Dense(1), layers.LayerNormalization(), layers.Dense(1)
    joining, adding = layers.Concatenate(), layers.Add()
    graph.add_inputs([x])
    for layer, output in ((one, hidden), (two, other)):
        graph.add_consumer(layer, [x])
        graph.add_outputs(layer, [x], [output], is_origin=True)
    graph.add_consumer(joining, [hidden, x])
    graph.add_outputs(joining, [hidden, x], [both], is_origin=False)
    graph.add_alias(both, cast)
    graph.add_alias(cast, cast)
    graph.add_consumer(adding, [other, cast])
    graph.add_outputs(adding, [other, cast], [total], is_origin=False)
    graph.add_outputs(adding, [unknown], [lost], is_origin=False)
    origins = {"x": None, "hidden": one, "other": two, "both": one, "cast": one, "total": two, "lost": None}
    tensors = {"x": x, "hidden": hidden, "other": other, "both": both, "cast": cast, "total": total, "lost": lost}
    assert {name: graph.origin(tensor) for name, tensor in tensors.items()} == origins
    assert [name for name, tensor in tensors.items() if graph.is_input(tensor)] == ["x"]
    # What was joined with outputs stays so in what is computed from it.
    joined = {name: [part is x for part in graph.joined(tensor)] for name, tensor in tensors.items()}
    assert {name for name, parts in joined.items() if parts == [True]} == {"both", "cast", "total"}
    assert {name for name, parts in joined.items() if not parts} == {"x", "hidden", "other", "lost"}
    assert (graph.only_consumer(one), graph.only_consumer(joining)) == (joining, adding)
    graph.add_consumer(norm, [hidden])
    assert graph.only_consumer(one) is None
    # Of two outputs one goes to a normalization, and the other nowhere.
    graph.add_outputs(last, [total], [values := np.zeros(1), rest := np.zeros(1)], is_origin=True)
    graph.add_consumer(norm, [values])
    assert graph.consumers(last) == [[norm], []]
    graph.add_consumer(norm, [rest])
    # A layer that passes its input on is no consumer of it.
    graph.add_consumer(adding, [rest])
    assert graph.consumers(last) == [[norm], [norm, adding]]
    graph.add_outputs(adding, [rest], [rest], is_origin=False)
    assert graph.consumers(last) == [[norm], [norm]]
