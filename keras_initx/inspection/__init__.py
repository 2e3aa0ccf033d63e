"""The parts of a Keras model: its layers, weights and kernels, and how to watch and feed it.

Read `_inventory.py` first: layers and weights of a model by path. `_kernels.py` finds the kernels
among the weights. `_symbolic.py` records a call with symbolic tensors. From this call
`_architecture.py` reads branches (`_branches.py`), attention and gates. `_watch.py` makes a pass
and lets watchers look at each call. `_pairing.py` pairs the weights of two models by canonical
paths, which count automatic names within the layer around them.

Each file defines its words at the top, with a sample.
"""
