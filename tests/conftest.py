"""Cut the processor into virtual devices, before a backend looks at it. One of them is used unless a test asks."""

import os

import keras

if keras.backend.backend() == "jax":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)
