"""What a terminal shows of long work."""

from types import SimpleNamespace

import pytest

from keras_initx.rendering import _terminal
from keras_initx.rendering._terminal import progress, status


def begin_terminal(monkeypatch):
    """Take the error stream for a terminal of 100 columns, during a test: it was another one before."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_terminal_shows_the_time_that_is_left(capsys, monkeypatch):
    begin_terminal(monkeypatch)
    seconds = iter([0, 10, 75])
    monkeypatch.setattr(_terminal, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with progress("compare", 4, "epochs") as advance:
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
    with status() as show:
        show("Measured " + "long/" * 100)
        show("Measured dense")
    first, second = capsys.readouterr().err.split("\r")[1:]
    assert first == ("Measured " + "long/" * 100)[:99]
    assert second == f"{'Measured dense':99}\n"


@pytest.mark.parametrize("shown", [status, lambda: progress("compare", 4, "epochs")])
def test_nothing_is_shown_where_there_is_no_terminal(capsys, shown):
    with shown() as update:
        update(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shown", [status, lambda: progress("compare", 4, "epochs")])
def test_nothing_is_shown_where_the_error_stream_is_closed(monkeypatch, shown):
    monkeypatch.setattr("sys.stderr", None)
    with shown() as update:
        update(1)
