"""Random words on the host: NumPy and a program, one thread and two, and what ends them."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from modes import BACKEND

from keras_initx.backends import backend
from keras_initx.sampling import _words
from keras_initx.sampling._words import HostWords

pytestmark = pytest.mark.usefixtures("optimized")

KEY = (np.array([2024], "uint32"), np.array([4294967295], "uint32"))
STEP = _words._STEP
LARGE = _words._LARGE


def words(source, begin, end):
    out = np.empty(end - begin, "uint32")
    source.fill(out, lambda words: words, KEY, 1, begin)
    return out


@pytest.mark.parametrize("begin", [0, 7, 2**31 - 100, 2**32 - 2 * STEP - 3])
def test_a_program_makes_the_words_that_numpy_makes(begin):
    end = begin + 2 * STEP + 3
    np.testing.assert_array_equal(words(HostWords(patience=0), begin, end), words(HostWords(), begin, end))


@pytest.fixture
def compilations(monkeypatch):
    """Count the programs compiled."""
    compiled, count = backend.cpu_program, []
    monkeypatch.setattr(backend, "cpu_program", lambda function: count.append(1) or compiled(function))
    return count


def test_nothing_is_compiled_for_a_model_of_ordinary_size(compilations):
    source = HostWords()
    for _ in range(10):
        words(source, 0, 3 * STEP)
    assert not compilations


@pytest.mark.skipif(backend.cpu_program(lambda words: words) is None, reason="this backend has no compiler")
def test_one_program_serves_all_large_draws(compilations):
    source = HostWords(patience=2 * STEP)
    for size in (2 * STEP, 3 * STEP, 5 * STEP + 1):
        words(source, 0, size)
    assert len(compilations) == 1


@pytest.mark.skipif(BACKEND != "jax", reason="JAX can be told to leave the CPU alone")
def test_without_the_cpu_among_its_platforms_jax_compiles_nothing(monkeypatch):
    """As with JAX_PLATFORMS=cuda."""
    import jax

    def local_devices(backend=None):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", local_devices)
    end = 2 * STEP + 3
    np.testing.assert_array_equal(words(HostWords(patience=0), 0, end), words(HostWords(), 0, end))


def test_an_interrupted_draw_ends_at_once():
    blocks, interrupted = [], threading.Event()

    def convert(words):
        if threading.current_thread() is threading.main_thread():
            interrupted.set()
            raise KeyboardInterrupt
        assert interrupted.wait(timeout=60)  # however busy the machine is
        blocks.append(1)
        return words

    with pytest.raises(KeyboardInterrupt):
        HostWords().fill(np.empty(40 * STEP, "uint32"), convert, KEY, 1, 0)
    assert len(blocks) <= 2  # of 54: the other thread ends what it is at


def test_an_error_in_the_other_thread_is_raised():
    failed = threading.Event()

    def convert(words):
        if threading.current_thread() is threading.main_thread():
            assert failed.wait(timeout=60)
            return words
        failed.set()
        raise ValueError("an error")

    with pytest.raises(ValueError, match="an error"):
        HostWords().fill(np.empty(4 * STEP, "uint32"), convert, KEY, 1, 0)


def test_small_draws_never_wait_for_a_compiler(compilations):
    source = HostWords(patience=0)
    for _ in range(10):
        words(source, 0, LARGE - 1)
    assert not compilations


def test_all_draws_share_a_second_thread():
    threads = set()

    def convert(words):
        threads.add(threading.current_thread())
        return words

    for _ in range(20):
        HostWords().fill(np.empty(LARGE, "uint32"), convert, KEY, 1, 0)
    assert len(threads) <= 2


def test_draws_at_one_time_have_the_values_of_each():
    expected = [words(HostWords(), begin, begin + LARGE) for begin in range(4)]
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda begin: words(HostWords(), begin, begin + LARGE), range(4)))
    np.testing.assert_array_equal(found, expected)


def draw_in_a_process(expected):
    np.testing.assert_array_equal(words(HostWords(), 0, LARGE), expected)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends do not work in a forked process")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_draws_too():
    """It has no threads of its parent."""
    expected = words(HostWords(), 0, LARGE)
    process = multiprocessing.get_context("fork").Process(target=draw_in_a_process, args=(expected,))
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    assert code == 0
