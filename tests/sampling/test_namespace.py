"""Where values are computed: on the host, in a trace, on a device."""

import keras
import pytest
from modes import MODES, run

import keras_initx
from keras_initx.backends._current import backend
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, choose_namespace

pytestmark = pytest.mark.every_backend
LARGE = backend.worth_a_device


def test_on_a_cpu_the_host_makes_all(monkeypatch):
    monkeypatch.delenv("KERAS_INITX_SAMPLE_ON", raising=False)
    with keras.device("cpu:0"):
        assert choose_namespace(2**40) is HOST


@pytest.mark.parametrize(("size", "namespace"), [(0, HOST), (LARGE - 1, HOST), (LARGE, DEVICE)])
def test_an_accelerator_makes_what_is_large(monkeypatch, size, namespace):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "auto")
    monkeypatch.setattr(backend, "on_accelerator", lambda: True)
    assert choose_namespace(size) is namespace


@pytest.mark.parametrize("size", [0, LARGE])
def test_the_environment_forces_either_at_each_call(monkeypatch, size):
    monkeypatch.setattr(backend, "on_accelerator", lambda: True)
    for place, namespace in (("host", HOST), ("device", DEVICE), ("host", HOST)):
        monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", place)
        assert choose_namespace(size) is namespace


def test_an_unknown_place_is_an_error(monkeypatch):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "gpu")
    message = "`KERAS_INITX_SAMPLE_ON` must be one of .*'device'.*Received: KERAS_INITX_SAMPLE_ON='gpu'"
    with pytest.raises(ValueError, match=message):
        keras_initx.RandomNormal(seed=1)((2, 3))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("eager", "compile")])
def test_a_trace_is_never_left(monkeypatch, mode):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "device")
    found = []
    run(mode, lambda: found.append(choose_namespace(LARGE)) or keras.ops.zeros(()))
    assert set(found) == {TRACED}
