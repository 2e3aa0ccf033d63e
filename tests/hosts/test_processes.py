"""Several processes that share a model: the same weights as in one, made without messages and without a copy.

The tests of other folders have one process, with several devices at most.
"""

import functools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from joined import report, reports, start
from modes import BACKEND, needs_keras
from safetensors.numpy import save_file

pytestmark = pytest.mark.every_backend

only_jax = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
LARGE, SQUARE = 4096 * 2048, 2048 * 64
BIASES = {2048, 64, 8}


@functools.cache
def results(folder):
    file = folder / "model.safetensors"
    random = np.random.default_rng(0)
    shapes = {"large": (2048, 4096), "square": (64, 2048), "out": (8, 64)}
    arrays = {f"{name}.weight": random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    arrays |= {f"{name}.bias": np.ones(shape[0], "float32") for name, shape in shapes.items()}
    save_file(arrays, file)
    (single,) = reports(start("process.py", 1, 1, "1", file))
    return single, reports(start("process.py", 2, 4, "2", file))


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    return results(tmp_path_factory.mktemp("hosts"))


@pytest.mark.parametrize("what", ["built", "initialized", "interrupted", "loaded"])
def test_every_process_has_the_weights_of_a_single_one(found, what):
    single, processes = found
    assert [process[what] for process in processes] == [single[what]] * 2


def test_an_interruption_between_assignments_leaves_no_process_with_new_weights(found):
    for process in found[1]:
        assert process["interrupted"] == process["initialized"]


def assert_the_same(found, what):
    single, processes = found
    assert processes[0][what] == processes[1][what]
    np.testing.assert_allclose(processes[0][what], single[what], rtol=1e-4)


def test_all_processes_find_the_same_deviations(found):
    assert_the_same(found, "std")


@pytest.mark.skipif(BACKEND == "jax", reason="refused there")
def test_all_processes_find_the_same_statistics(found):
    for what in ("diagnosed", "variances"):
        assert_the_same(found, what)
    assert found[1][0]["scaled"] == found[1][1]["scaled"]


@pytest.mark.skipif(BACKEND == "jax", reason="refused there")
def test_every_process_copies_a_model(found):
    single, processes = found
    assert [process["copied"] for process in processes] == [single["copied"]] * 2


@only_jax
@pytest.mark.parametrize(
    ("name", "argument"), [("diagnose", "model"), ("lsuv", "model"), ("load_pretrained", "source")]
)
def test_what_reads_whole_weights_is_refused_where_processes_share_them(found, name, argument):
    for process in found[1]:
        assert f"`{argument}` must have all its weights in this process" in process[f"refused by {name}"]
        assert "whose 'large/kernel' is spread over several processes" in process[f"refused by {name}"]
        assert process["after it was refused"] == process["before it was refused"]


def test_draws_without_a_seed_are_the_same_in_all_processes(found):
    assert found[1][0]["without a seed"] == found[1][1]["without a seed"]


@pytest.mark.skipif(BACKEND != "torch", reason="a wrapper of torch")
def test_a_wrapped_model_trains_the_weights_that_were_initialized(found):
    first, second = found[1]
    assert first["gradient"] == second["gradient"] > 0


@only_jax
@needs_keras("3.15", "passes the layout of a variable to its initializer")
def test_seeds_that_processes_draw_must_be_the_same(found):
    for process in found[1]:
        assert process["refused"].startswith("All processes must draw the same seeds: ")


@only_jax
@needs_keras("3.15", "passes the layout of a variable to its initializer")
def test_to_build_processes_send_only_what_is_multiplied(found):
    for process in found[1]:
        sent = {size for sizes in process["sent to build"].values() for size in sizes}
        assert sent == {SQUARE, *BIASES, 1}  # biases are from Keras, so JAX compares them; 1 is a seed


@only_jax
def test_to_initialize_and_load_processes_send_only_what_is_multiplied(found):
    for process in found[1]:
        assert process["sent to initialize"] == {"broadcast_one_to_all": [SQUARE]}
        assert process["sent to load"] == {}


@only_jax
def test_for_a_digest_processes_send_eight_bytes_of_each_weight_that_is_sharded(found):
    for process in found[1]:
        assert process["sent to digest"] == {"process_allgather": [2 * 3]}  # words of four bytes
        assert process["on the host to digest"] == []


@only_jax
def test_processes_that_exchange_nothing_have_new_weights_if_one_raises_an_error():
    outcomes = []
    for process in start("failing.py", 2, 2):
        printed, _ = process.communicate()
        outcomes.append((process.returncode, report(printed)))
    assert outcomes == [(0, {"error": "None", "former": False}), (1, {"error": "no file", "former": True})]


@only_jax
def test_initialize_has_no_large_weight_on_the_host(found):
    for process in found[1]:
        assert LARGE not in process["on the host"]


def test_every_process_audits_what_it_holds(found):
    single, processes = found
    rules = "5 of 6 weights are as the rules say, 1 not compared."
    for process in (single, *processes):
        assert process["audited"] == [
            "6 of 6 weights are as the plan says.",
            "6 of 6 weights are as the rules say.",
            rules,
        ]


@only_jax
def test_to_audit_processes_send_nothing_and_none_has_a_whole_kernel(found):
    for process in found[1]:
        assert process["sent to audit"] == {}
        assert LARGE not in process["on the host to audit"]


def test_a_process_tells_which_of_its_own_values_are_not_those_of_the_plan(found):
    single, processes = found
    expected = [["large/kernel", "4096 of 8388608 values differ from the plan"]]
    assert single["off"] == expected
    if BACKEND == "jax":
        expected = [["large/kernel", "4096 of 4194304 values differ from the plan"]]
        assert [process["off"] for process in processes] == [[], expected]
    else:
        assert [process["off"] for process in processes] == [expected, expected]


@pytest.mark.skipif(BACKEND != "torch", reason="a distribution of torch")
@needs_keras("3.16", "distributes on torch")
@pytest.mark.parametrize("script", ["data_parallel.py", "model_parallel.py"])
def test_a_distribution_of_torch_has_the_weights_of_a_seed(script):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = pathlib.Path(__file__).with_name(script)
    done = subprocess.run([*launcher, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
