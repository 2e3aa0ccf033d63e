"""Virtual devices and the profiles of Hypothesis for all tests, and what `--digests` writes."""

import json
import os
import pathlib

import keras
import pytest
from hypothesis import HealthCheck, settings

# Cut the processor before a backend looks at it. One of the devices is used unless a test asks for more.

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


def pytest_addoption(parser):
    parser.addoption("--digests", type=pathlib.Path, help="folder for the digests of all values, a file for a backend")


@pytest.fixture(scope="session")
def digests(request):
    """Return a dict to fill; what is in it at the end is written where `--digests` says."""
    found: dict = {}
    yield found
    folder = request.config.getoption("--digests")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        (folder / f"{keras.backend.backend()}.json").write_text(text + "\n")
