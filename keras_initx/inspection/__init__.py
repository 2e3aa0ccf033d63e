"""What a Keras model is made of: its layers, its weights, its kernels, how to watch and feed it.

Read `_inventory.py` first: layers and weights of a model by path. `_kernels.py` says which weights
are kernels, `_symbolic.py` and `_architecture.py` read branches, attention and gates from a
symbolic call, `_watch.py` makes a pass and tells of each call, `_pairing.py` pairs the weights of
two models.
"""
