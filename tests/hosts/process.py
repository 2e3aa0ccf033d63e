"""One of several processes that share a model, or the only one. It prints what it finds as JSON."""

import contextlib
import json
import os
import random
import sys

import keras
import numpy as np

RANK, PORT, COUNT, PRETRAINED = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
BACKEND = keras.backend.backend()
SHARED = COUNT > 1


def join_jax():
    """Join the processes, and put shards of all kernels on the devices of both."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(f"localhost:{PORT}", COUNT, RANK)
    mesh = keras.distribution.DeviceMesh((1, jax.device_count()), ("batch", "units"), keras.distribution.list_devices())
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map[".*kernel"] = (None, "units")
    return keras.distribution.ModelParallel(layout_map=layout_map, auto_shard_dataset=False).scope()


def join_tensorflow():
    """Join the processes, and mirror all variables."""
    import tensorflow as tf

    workers = [f"localhost:{int(PORT) + rank}" for rank in range(COUNT)]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": RANK}})
    return tf.distribute.MultiWorkerMirroredStrategy().scope()


def join_torch():
    """Join the processes. Each has a whole model."""
    import torch

    torch.distributed.init_process_group("gloo", f"tcp://localhost:{PORT}", rank=RANK, world_size=COUNT)
    return contextlib.nullcontext()


scope = {"jax": join_jax, "tensorflow": join_tensorflow, "torch": join_torch}[BACKEND]() if SHARED else None

import keras_initx  # noqa: E402  (a backend must not be used before the processes have met)
from keras_initx.backends._current import backend  # noqa: E402

layers = keras.layers
batch = np.random.default_rng(0).normal(size=(8, 4096)).astype("float32")
targets = np.arange(8) % 8
found = {}


def build(seed=7):
    """Return a model whose first kernel JAX makes in shards, as Keras counts eight devices."""
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4096,)),
            layers.Dense(2048, "relu", kernel_initializer="initx.he_normal", name="large"),
            layers.Dense(64, "relu", kernel_initializer="initx.orthogonal", name="square"),
            layers.Dense(8, "softmax", kernel_initializer="initx.glorot_uniform", name="out"),
        ]
    )


def digest(model):
    """Return a digest that the weights have wherever they are."""
    return keras_initx.weights_digest(model)


class Messages:
    """Counts what JAX sends between processes, other than inside of programs."""

    def __init__(self):
        self.sizes = {}
        if BACKEND == "jax":
            from jax.experimental import multihost_utils

            for name in ("assert_equal", "broadcast_one_to_all", "process_allgather"):
                setattr(multihost_utils, name, self.counted(name, getattr(multihost_utils, name)))

    def counted(self, name, function):
        def call(value, *args, **kwargs):
            self.sizes.setdefault(name, []).append(int(np.prod(value.shape)))
            return function(value, *args, **kwargs)

        return call

    def taken(self):
        """Return the sizes of what was sent since the last call."""
        sizes, self.sizes = self.sizes, {}
        return sizes


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@contextlib.contextmanager
def interrupted_after(assignments):
    """Interrupt this process when it is about to assign once more."""
    assign = keras.Variable.assign
    left = assignments

    def counted(variable, value):
        nonlocal left
        left -= 1
        if left == -1:
            raise Interrupted
        return assign(variable, value)

    keras.Variable.assign = counted
    try:
        yield
    finally:
        keras.Variable.assign = assign


@contextlib.contextmanager
def noting_views():
    """Yield a list of the sizes of what is brought to the host as a whole."""
    sizes, view = [], type(backend).host_view
    type(backend).host_view = lambda self, tensor: sizes.append(int(np.prod(tensor.shape))) or view(self, tensor)
    try:
        yield sizes
    finally:
        type(backend).host_view = view


messages = Messages()
with scope or contextlib.nullcontext():
    random.seed(RANK)
    try:
        build(seed=None)
    except ValueError as error:
        found["refused"] = str(error)
    messages.taken()
    model = build()
    found["sent to build"] = messages.taken()
    found["built"] = digest(model)
    messages.taken()
    if BACKEND == "torch" and SHARED:
        import torch

        wrapped = torch.nn.parallel.DistributedDataParallel(model)

    with noting_views() as on_host:
        plan = keras_initx.initialize(model, {"large/kernel": "initx.he_uniform"}, seed=1)
    found["sent to initialize"], found["on the host"] = messages.taken(), on_host
    messages.taken()
    with noting_views() as on_host:
        found["initialized"] = digest(model)
    found["sent to digest"], found["on the host to digest"] = messages.taken(), on_host
    found["std"] = [weight.std for weight in plan.rows]

    plan.save(f"{PRETRAINED}.{COUNT}.{RANK}.json")
    messages.taken()
    with noting_views() as on_host:
        reports = [
            keras_initx.audit(model, f"{PRETRAINED}.{COUNT}.{RANK}.json"),
            keras_initx.audit(model, {"large/kernel": "initx.he_uniform"}, seed=1),
            keras_initx.audit(model, {"large/kernel": "initx.he_uniform", "square/kernel": None}),
        ]
    found["audited"] = [report.summary for report in reports]
    found["sent to audit"], found["on the host to audit"] = messages.taken(), on_host
    large = model.layers[0].kernel
    value = keras.ops.copy(large.value)
    # The last column is one of the last process, and so little off that no other test tells.
    large.assign(value * (1 - 2.0**-10 * keras.ops.cast(keras.ops.arange(2048) == 2047, "float32")))
    found["off"] = [(row.path, row.detail) for row in keras_initx.audit(model, plan).problems]
    large.assign(value)

    with contextlib.suppress(Interrupted), interrupted_after(2):
        keras_initx.initialize(model, seed=2)
    found["interrupted"] = digest(model)

    messages.taken()
    loading = keras_initx.load_pretrained(model, PRETRAINED, layout="torch")
    found["sent to load"] = messages.taken()
    found["loaded"] = digest(model)
    if not (BACKEND == "jax" and SHARED):
        keras_initx.load_pretrained(model, build(8))
        found["copied"] = digest(model)

    keras_initx.initialize(model, seed=1)
    if BACKEND == "jax" and SHARED:
        found["before it was refused"] = digest(model)
        reading = {
            "diagnose": lambda: keras_initx.diagnose(model, batch),
            "lsuv": lambda: keras_initx.lsuv(model, batch),
            "load_pretrained": lambda: keras_initx.load_pretrained(model, build(8)),
        }
        for name, function in reading.items():
            try:
                function()
            except ValueError as error:
                found[f"refused by {name}"] = str(error)
        found["after it was refused"] = digest(model)
    else:
        report = keras_initx.diagnose(model, batch, targets, loss="sparse_categorical_crossentropy")
        found["diagnosed"] = [[layer.signal.std, layer.gradient.norm] for layer in report.rows]
        result = keras_initx.lsuv(model, batch, seed=3)
        found["variances"] = [row.after for row in result.rows]
        found["scaled"] = digest(model)

    if BACKEND == "torch" and SHARED:
        wrapped(torch.from_numpy(batch[RANK::COUNT])).square().sum().backward()
        found["gradient"] = float(model.layers[0].kernel.value.grad.abs().sum())
    found["without a seed"] = digest(build(seed=None))

sys.stdout.write(json.dumps(found))
