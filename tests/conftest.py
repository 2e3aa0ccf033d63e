"""Cut the processor into virtual devices, before a backend looks at it. One of them is used unless a test asks."""

import os

import keras
from hypothesis import HealthCheck, settings

if keras.backend.backend() == "jax":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)

settings.register_profile("ordinary", max_examples=60, deadline=None, derandomize=True)
# New cases in each run of `nox -s fuzz`; `--hypothesis-seed` repeats those of one.
settings.register_profile(
    "fuzz",
    max_examples=1000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ordinary")
