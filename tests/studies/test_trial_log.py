"""Records survive a kill at any byte, and damage is told."""

import math

import pytest

from keras_initx.studies import DamagedFileError, SettingsError, Trial
from keras_initx.studies._records import Folder, as_line, from_line, read_log

pytestmark = pytest.mark.once

METRICS = {
    "epoch": 1,
    "loss": math.inf,
    "val_loss": 0.1 + 0.2,
    "note": 'a "quoted" ü',
    "batch_losses": [1.5, -math.inf],
}


def test_a_line_comes_back():
    assert from_line(as_line(METRICS)) == METRICS


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "NaN", "ü\u2028", "a\nb", "\ud800", '", "digest": "'])
def test_any_string_comes_back(text):
    assert from_line(as_line({"title": text, text: 1.0})) == {"title": text, text: 1.0}
    as_line({"title": text}).encode()


def test_nan_comes_back():
    assert math.isnan(from_line(as_line({"loss": math.nan}))["loss"])


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_line_with_another_sign_is_damaged(place):
    text = as_line(METRICS)
    assert from_line(f"{text[:place]}~{text[place + 1 :]}") is None


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    folder.open("compare", {"repeats": 1})
    return folder


def write(folder, *epochs, end=None):
    log = folder.begin("0-1")
    for value in epochs:
        log(event="epoch", metrics={"loss": value})
    if end:
        log(event="end", status=end)


def test_a_record_is_all_that_was_logged_before_the_end(folder):
    log = folder.begin("0-1")
    log(event="first batch", diagnosis={"layers": [], "verdicts": []})
    log(event="epoch", metrics={"epoch": 0, "val_loss": math.inf}, directions={"val_loss": "min", "val_own": None})
    log(event="epoch", metrics={"epoch": 1, "loss": 0.5})
    log(event="end", status="finished", state="abc")
    log(event="end", status="failed", error="too late")
    other = folder.begin("0-11")
    other(event="end", status="failed", error="E", traceback="T")
    assert folder.trials(["0-11", "0-1", "1-1"]) == {
        "0-11": Trial("0-11", "failed", (), {"event": "end", "error": "E", "traceback": "T"}),
        "0-1": Trial(
            "0-1",
            "finished",
            ({"epoch": 0, "val_loss": math.inf}, {"epoch": 1, "loss": 0.5}),
            {"event": "end", "state": "abc"},
            {"layers": [], "verdicts": []},
            {"val_loss": "min", "val_own": None},
        ),
        "1-1": Trial("1-1", "missing"),
    }
    settled = ["finished", "diverged"]
    statuses = [*settled, "failed", "interrupted", "missing"]
    assert [status for status in statuses if Trial("key", status).is_settled] == settled


def test_settings_are_the_same_if_they_come_back_so(tmp_path):
    settings = {"rates": (0.1, math.nan), "names": {"b": 1, "a": None}, "epochs": 1, "seed": 0}
    folder = Folder(tmp_path / "study")
    folder.open("compare", settings)
    folder.open("compare", {**settings, "names": {"a": None, "b": 1}})
    changed = {name: value for name, value in settings.items() if name != "seed"} | {"epochs": 2, "batch_size": 8}
    message = "batch_size=8, there None; epochs=2, there 1; seed=None, there 0"
    with pytest.raises(SettingsError, match=rf"study contains a run with other settings. Received: {message}$"):
        folder.open("compare", changed)
    assert folder.settings("compare")["epochs"] == 1
    with pytest.raises(ValueError, match=r"`path` must be the folder of a restarts run. Received: path=.*, of compare"):
        folder.settings("restarts")


def losses(folder):
    return [metrics["loss"] for metrics in folder.trial("0-1").epochs]


def test_what_a_kill_leaves_of_a_line_does_not_count(folder):
    write(folder, 1.0, 2.0, 3.0)
    (file,) = folder.path.glob("trials/*")
    content = file.read_bytes()
    begin = content[:-1].rindex(b"\n") + 1
    for length in range(begin, len(content) - 1):
        file.write_bytes(content[:length])
        assert losses(folder) == [1.0, 2.0]
    assert folder.trial("0-1").status == "interrupted"


def test_a_line_in_the_middle_must_be_as_it_was_written(folder):
    write(folder, 1.0, 2.0)
    (file,) = folder.path.glob("trials/*")
    file.write_bytes(file.read_bytes().replace(b"1.0", b"1.1"))
    with pytest.raises(DamagedFileError, match=r"0-1\.1\.jsonl, line 1, is damaged"):
        read_log(file)


@pytest.mark.parametrize("other", [b"2", b"\xff"])
def test_a_header_must_be_as_it_was_written(folder, other):
    file = folder.path / "study.json"
    file.write_bytes(file.read_bytes().replace(b"1", other, 1))
    with pytest.raises(DamagedFileError, match=r"study\.json is damaged"):
        folder.header()


def test_a_second_attempt_takes_the_place_of_the_first(folder):
    write(folder, 1.0)
    write(folder, 2.0, 3.0)
    assert losses(folder) == [2.0, 3.0]


def test_the_attempt_that_came_to_its_end_counts(folder):
    write(folder, 1.0, end="finished")
    write(folder, 2.0)
    assert losses(folder) == [1.0]
    assert folder.trial("0-1").is_settled


def test_a_failed_attempt_counts_until_another_settles(folder):
    write(folder, 1.0, end="failed")
    write(folder, 2.0)
    assert folder.trial("0-1").status == "failed"
    write(folder, 3.0, end="diverged")
    assert folder.trial("0-1").status == "diverged"
    assert losses(folder) == [3.0]


def test_the_last_of_many_failed_attempts_counts(folder):
    for value in range(11):
        write(folder, float(value), end="failed")
    assert losses(folder) == [10.0]


@pytest.mark.parametrize(
    "name",
    ["0-1.1 (conflicted copy).jsonl", "0-1.1.sync-conflict.jsonl", "0-1.copy.jsonl", "0-1.1_0.jsonl", "0-1..jsonl"],
)
def test_a_copy_of_a_record_does_not_count(folder, name):
    write(folder, 1.0, end="finished")
    (file,) = folder.path.glob("trials/*")
    (folder.path / "trials" / name).write_bytes(file.read_bytes().replace(b"1.0", b"2.0"))
    assert losses(folder) == [1.0]
    write(folder, 3.0)
    assert (folder.path / "trials" / "0-1.2.jsonl").exists()


def test_what_was_never_begun_is_missing(folder):
    assert folder.trial("0-1").status == "missing"


def test_two_logs_of_a_trial_are_two_files(folder):
    one, other = folder.begin("0-1"), folder.begin("0-1")
    one(event="epoch", metrics={"loss": 1.0})
    other(event="epoch", metrics={"loss": 2.0})
    assert len(list(folder.path.glob("trials/*"))) == 2


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"study\.json"):
        Folder(tmp_path).header()
