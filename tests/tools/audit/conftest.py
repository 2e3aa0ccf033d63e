"""The contract that later weights are compared with."""

import pytest
from audited import deep_network

import keras_initx


@pytest.fixture(scope="module")
def yesterday():
    return keras_initx.contract(deep_network)
