"""The demo passes from end to end."""

import re
import subprocess
import sys

import pytest

from keras_initx._startup import installed_backends
from keras_initx.cli._demo import NETWORKS, TOLERANCE


@pytest.mark.full  # five new processes, beside those in which every weight comes back
def test_every_network_comes_back_on_every_backend():
    command = [sys.executable, "-m", "keras_initx", "demo"]
    result = subprocess.run(command, capture_output=True, text=True)
    rows = re.findall(r"(jax|tensorflow|torch) +(\w+) +initx\.\w+ +(0\.\d+) +ok \(±(\S+)\)", result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [row[:2] for row in rows] == [(backend, name) for backend in installed_backends() for name in NETWORKS]
    for _, name, accuracy, distance in rows:
        assert float(accuracy) > (0.9 if name == "lstm" else 0.93)
        assert float(distance) <= TOLERANCE
    assert "\x1b" not in result.stdout
