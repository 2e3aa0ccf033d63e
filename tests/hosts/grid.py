"""One of four processes that share a model of JAX on a mesh of 2 x 2 devices. It prints what it finds as JSON."""

import json
import sys

import jax
import keras
from walk import walk

RANK, PORT, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]

jax.config.update("jax_cpu_collectives_implementation", "gloo")
keras.distribution.initialize(f"localhost:{PORT}", 4, RANK)
mesh = keras.distribution.DeviceMesh((2, 2), ("rows", "columns"), keras.distribution.list_devices())
layout_map = keras.distribution.LayoutMap(mesh)
layout_map[".*words/embeddings"] = ("columns", "rows")
layout_map[".*up/kernel"] = ("rows", "columns")
layout_map[".*up/bias"] = ("columns",)
layout_map[".*down/kernel"] = ("columns", None)
with keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="rows", auto_shard_dataset=False).scope():
    found, model = walk(FILE, reads_whole=False)
found["shards"] = {}
for weight in model.weights:
    (shard,) = weight.value.addressable_shards
    found["shards"][weight.path] = shard.data.shape
sys.stdout.write(json.dumps(found))
