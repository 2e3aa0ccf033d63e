"""What a Keras model is made of: its layers, its weights, its kernels, how to watch and feed it.

Read `_inventory.py` first: layers and weights of a model by path. `_kernels.py` tells which weights
are kernels. `_symbolic.py` records a call with symbolic tensors, from which `_architecture.py`
reads branches (`_branches.py`), attention and gates. `_watch.py` makes a pass and lets watchers
look at each call. `_pairing.py` pairs the weights of two models by canonical paths, in which
automatic names are counted within the layer around them.

Each file defines its words at its head, with a sample.
"""
