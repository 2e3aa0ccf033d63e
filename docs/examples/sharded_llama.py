"""Initialize a small Llama of KerasHub by rules, on one device and on eight."""

import keras_initx
from keras_initx import recipes, weights_digest

import keras
import keras_hub


def build():
    """Return a Llama of 3.5 million weights."""
    return keras_hub.models.LlamaBackbone(
        vocabulary_size=2048,
        num_layers=4,
        num_query_heads=8,
        num_key_value_heads=8,
        hidden_dim=256,
        intermediate_dim=512,
    )


def digest(model):
    """Initialize a model as GPT-2, weight by weight, and return its digest."""
    keras_initx.initialize(model, recipes.gpt2(model), seed=0, atomic=False)
    return weights_digest(model)


plain = digest(build())

mesh = keras.distribution.DeviceMesh((2, 4), ("batch", "model"))
layout = keras_hub.models.LlamaBackbone.get_layout_map(mesh)
parallel = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
with parallel.scope():
    model = build()
    sharded = digest(model)

kernel = next(weight for weight in model.weights if "intermediate" in weight.path)
shard = kernel.value.addressable_shards[0].data
print(f"{kernel.path} {tuple(kernel.shape)}")
print(f"on each device {shard.shape}")
print(f"one device    {plain}")
print(f"eight devices {sharded}")
