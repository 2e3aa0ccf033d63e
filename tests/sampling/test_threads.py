"""Two threads share what is large, and no more than two."""

import threading

from keras_initx.sampling._words import run_blocks, shared_block


def test_all_blocks_are_done_once():
    done = []
    run_blocks(done.append, range(100), two_threads=True)
    assert sorted(done) == list(range(100))


def test_a_part_of_what_is_shared_stays_in_its_thread():
    """Parts that waited for the other thread would keep their arrays."""
    threads = []

    def share_again(block):
        here = threading.current_thread()
        run_blocks(lambda _: threads.append((here, threading.current_thread())), range(3), two_threads=True)

    run_blocks(share_again, range(20), two_threads=True)
    assert len(threads) == 60
    assert all(outer is inner for outer, inner in threads)


def test_shares_are_even():
    assert shared_block(10, 100) == 6
    assert shared_block(1001, 100) == 84
