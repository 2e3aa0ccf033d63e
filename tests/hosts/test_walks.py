"""Models on a mesh of four processes, or on parameter servers, have the weights of one device."""

import numpy as np
import pytest
from joined import reports, start
from modes import BACKEND
from safetensors.numpy import save_file
from walk import walk

pytestmark = pytest.mark.skipif(BACKEND == "torch", reason="there each process has a whole model")
SCRIPTS = {"jax": ("grid.py", 4), "tensorflow": ("servers.py", 1)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what one device finds, and what each process does."""
    file = tmp_path_factory.mktemp("walks") / "model.safetensors"
    random = np.random.default_rng(0)
    shapes = {"words.weight": (32, 16), "up.weight": (64, 128), "up.bias": (64,), "down.weight": (8, 64)}
    state = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    save_file({**state, "down.bias": np.ones(8, "float32")}, file)
    script, count = SCRIPTS[BACKEND]
    processes = start(script, count, 1, file)
    single, _ = walk(file)
    return single, reports(processes)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="shards of JAX")
def test_each_process_holds_a_block_of_rows_and_columns(found):
    for process in found[1]:
        assert process["shards"]["sequential/up/kernel"] == [64, 32]
        assert process["shards"]["sequential/words/embeddings"] == [16, 8]


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="servers of TensorFlow")
def test_each_server_holds_weights(found):
    (process,) = found[1]
    assert {place.partition("/device")[0] for place in process["places"]} == {
        "/job:ps/replica:0/task:0",
        "/job:ps/replica:0/task:1",
    }


@pytest.mark.every_backend
@pytest.mark.parametrize("what", ["built", "initialized", "audited", "loaded"])
def test_every_process_has_the_weights_of_one_device(found, what):
    single, processes = found
    for process in processes:
        assert process[what] == single[what]


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="refused there")
def test_every_process_measures_what_one_device_does(found):
    single, processes = found
    for process in processes:
        for what in ("signals", "variances"):
            assert process[what] == processes[0][what]
            np.testing.assert_allclose(process[what], single[what], rtol=1e-4)
