"""What a terminal shows of long work."""

from types import SimpleNamespace

import keras
import pytest

from keras_initx.report import _terminal
from keras_initx.report._terminal import show_progress, show_status, takes_verbose


def begin_terminal(monkeypatch):
    """Take the error stream for a terminal of 100 columns, during a test: it was another one before."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_terminal_shows_the_time_that_is_left(capsys, monkeypatch):
    begin_terminal(monkeypatch)
    seconds = iter([0, 10, 75])
    monkeypatch.setattr(_terminal, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with show_progress("compare", 4, "epochs") as advance:
        advance(1)
        advance(2)
    lines = [line.rstrip() for line in capsys.readouterr().err.split("\r")]
    assert lines == [
        "",
        "compare, starting",
        "compare [=====               ] 1/4 epochs, 0:00:10 elapsed, 0:00:30 left",
        "compare [===============     ] 3/4 epochs, 0:01:15 elapsed, 0:00:25 left",
    ]


def test_a_text_stays_in_one_line(capsys, monkeypatch):
    begin_terminal(monkeypatch)
    with show_status() as show:
        show("Measured " + "long/" * 100)
        show("Measured dense")
    first, second = capsys.readouterr().err.split("\r")[1:]
    assert first == ("Measured " + "long/" * 100)[:99]
    assert second == f"{'Measured dense':99}\n"


@pytest.mark.parametrize("shown", [show_status, lambda: show_progress("compare", 4, "epochs")])
def test_nothing_is_shown_where_there_is_no_terminal(capsys, shown):
    with shown() as update:
        update(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shown", [show_status, lambda: show_progress("compare", 4, "epochs")])
def test_nothing_is_shown_where_the_error_stream_is_closed(monkeypatch, shown):
    monkeypatch.setattr("sys.stderr", None)
    with shown() as update:
        update(1)


@takes_verbose
def work(*, verbose="auto"):
    with show_progress("work", 1, "steps") as advance:
        advance(1)


@pytest.mark.parametrize(("verbose", "is_terminal"), [(1, False), (True, False), ("auto", True)])
def test_progress_is_shown_on_a_terminal_and_where_it_is_wanted(capsys, monkeypatch, verbose, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    work(verbose=verbose)
    assert "1/1 steps" in capsys.readouterr().err


@pytest.mark.parametrize(("verbose", "is_interactive"), [(0, True), (False, True), ("auto", False)])
def test_progress_is_silent_where_it_is_not_wanted(capsys, monkeypatch, verbose, is_interactive):
    begin_terminal(monkeypatch)
    monkeypatch.setattr(keras.config, "is_interactive_logging_enabled", lambda: is_interactive)
    work(verbose=verbose)
    assert capsys.readouterr().err == ""


def test_what_a_function_calls_is_as_silent_as_it_is(capsys, monkeypatch):
    begin_terminal(monkeypatch)

    @takes_verbose
    def outer(*, verbose="auto"):
        work()

    outer(verbose=0)
    assert capsys.readouterr().err == ""
    outer()
    assert "1/1 steps" in capsys.readouterr().err


@pytest.mark.parametrize("verbose", [2, "yes", None])
def test_verbose_is_one_of_three(verbose):
    with pytest.raises(ValueError, match=rf"`verbose` must be 'auto', 0 or 1. Received: verbose={verbose!r}"):
        work(verbose=verbose)
