"""Two threads share what is large, and no more than two."""

import threading

from keras_initx.sampling._words import each_in_two_threads, even_share


def test_all_blocks_are_done_once():
    done = []
    each_in_two_threads(done.append, range(100))
    assert sorted(done) == list(range(100))


def test_a_part_of_what_is_shared_stays_in_its_thread():
    """Parts that waited for the other thread would keep their arrays."""
    threads = []

    def share_again(block):
        here = threading.current_thread()
        each_in_two_threads(lambda _: threads.append((here, threading.current_thread())), range(3))

    each_in_two_threads(share_again, range(20))
    assert len(threads) == 60
    assert all(outer is inner for outer, inner in threads)


def test_shares_are_even():
    assert even_share(10, 100) == 6
    assert even_share(1001, 100) == 84
