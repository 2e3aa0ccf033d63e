"""Virtual devices and the profiles of Hypothesis for all tests, the sample of the large products, and `--digests`."""

import gc
import json
import os
import pathlib
import zlib

import products
import pytest
from hypothesis import HealthCheck, settings

# What is imported and collected stays until the end: the collector of garbage need not look at it again and again.
gc.disable()

settings.register_profile("ordinary", max_examples=30, deadline=None, derandomize=True)
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


# Folders and files of tests in which JAX compiles plain code, in a third of the time.
_UNOPTIMIZED = {
    "diagnostics",
    "initializers",
    "models",
    "studies",
    "test_coming_from",
    "test_contract",
    "test_examples",
    "test_layers",
    "test_package",
    "test_precision",
    "test_saving",
    "test_symmetry",
    "test_tracing",
}
# Except this file, which tests how an optimizing compiler rounds.
_OPTIMIZED = {"test_composition"}
# Those in which a full run compiles as users do.
_UNOPTIMIZED_IN_A_SAMPLE = {"device", "test_devices", "test_fuzz"}
# Tests of code that is the same on all backends: each runs under torch and one other, in turn.
_IN_TURN = {"diagnostics", "initializers", "models", "studies", "test_layers", "test_symmetry"}
# Except these files: gradients and states are computed otherwise on each backend.
_IN_EVERY = {"test_measure", "test_state"}
# How many tests run, and how many there are.
_COUNTS = pytest.StashKey[tuple[int, int]]()


def pytest_addoption(parser):
    parser.addoption("--digests", type=pathlib.Path, help="folder for the digests of all values, a file for a backend")
    parser.addoption("--full", action="store_true", help="run all tests in all combinations, not a sample")


def pytest_configure(config):
    # The controller of pytest-xdist runs no test, and would import a backend for nothing.
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        _cut_the_processor()


def _cut_the_processor():
    """Make several devices before a backend looks at it. One of them is used unless a test asks for more."""
    if _backend() == "jax":
        # Small programs are compiled faster as a whole than in parts.
        flags = "--xla_force_host_platform_device_count=8 --xla_cpu_parallel_codegen_split_count=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    if _backend() == "tensorflow":
        import tensorflow as tf

        virtual = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)


def _backend():
    import keras

    return keras.backend.backend()


@pytest.hookimpl(trylast=True)  # after `-k` and the like
def pytest_collection_modifyitems(config, items):
    others = {item for item in items if item.get_closest_marker("full") or _is_for_another_backend(item)}
    tests: dict = {}
    for item in items:
        if (product := item.get_closest_marker("product")) and item not in others:
            tests.setdefault((item.nodeid.partition("[")[0], product.args or products.ROW), []).append(item)
    left_out = set()
    if not config.getoption("--full"):
        left_out |= others
        for (_, row), group in tests.items():
            kept = products.sampled([item.callspec.params for item in group], row)
            left_out |= {item for item, keep in zip(group, kept, strict=True) if not keep}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    config.stash[_COUNTS] = (len(items), len(items) + len(left_out))


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def _is_for_another_backend(item):
    if _backend() == "torch":  # which compiles nothing
        return False
    if item.get_closest_marker("once"):
        return True
    if item.path.stem in _IN_EVERY or not _IN_TURN & {item.path.stem, item.path.parent.name}:
        return False
    if item.get_closest_marker("skipif"):  # on some backends
        return False
    number = zlib.crc32(item.nodeid.partition("[")[0].encode())
    return _backend() != ("jax", "tensorflow")[number % 2]


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # of pytest-xdist, whose controller collects nothing
        session.config.workeroutput["products"] = session.config.stash.get(_COUNTS, (0, 0))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[_COUNTS] = tuple(getattr(node, "workeroutput", {}).get("products", (0, 0)))


@pytest.fixture(autouse=True, scope="module")
def _programs_of_jax(request):
    """Let JAX compile without optimizing, also in processes to come, where the last bit of a result does not count."""
    place = request.path.relative_to(pathlib.Path(__file__).parent).with_suffix("")
    plain = _UNOPTIMIZED if request.config.getoption("--full") else _UNOPTIMIZED | _UNOPTIMIZED_IN_A_SAMPLE
    if _backend() != "jax" or place.name in _OPTIMIZED or not plain & set(place.parts):
        yield
        return
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        if jax.__version_info__ >= (0, 10):
            _generate_plain_code(patch)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


def _generate_plain_code(patch):
    """Turn off the code generator for fused loops, which takes half of the time, in the programs of this process."""
    from jax._src import compiler  # only an environment variable is public, which all programs of a process obey

    options_of_jax = compiler.get_compile_options

    def options(*arguments, **keywords):
        found = options_of_jax(*arguments, **keywords)
        found.env_option_overrides = [*found.env_option_overrides, ("xla_cpu_use_fusion_emitters", "False")]
        return found

    patch.setattr(compiler, "get_compile_options", options)


def pytest_terminal_summary(terminalreporter, config):
    count, total = config.stash.get(_COUNTS, (0, 0))
    others = "" if count == total else "; `--full` runs the others too"
    terminalreporter.write_line(f"{count:,} of {total:,} tests{others}.")


@pytest.fixture(scope="session")
def digests(request):
    """Return a dict to fill; what is in it at the end is written where `--digests` says."""
    found: dict = {}
    yield found
    folder = request.config.getoption("--digests")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        (folder / f"{_backend()}.json").write_text(text + "\n")
