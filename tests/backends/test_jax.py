"""What only JAX does."""

import types

import pytest
from modes import BACKEND

from keras_initx.backends._current import backend

pytestmark = pytest.mark.every_backend


@pytest.mark.skipif(BACKEND != "jax", reason="platforms of JAX")
@pytest.mark.parametrize(("kind", "accelerated"), [("gpu", True), ("cuda", True), ("tpu", False)])
def test_the_platforms_of_jax_that_make_values(monkeypatch, kind, accelerated):
    import jax

    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform=kind)])
    with jax.default_device(None):
        assert backend.on_accelerator() is accelerated
