"""What a Keras model is made of: its layers, its weights, its kernels, how to watch and feed it."""
