"""A study that was killed resumes where it stopped, and has the same result."""

import errno
import os
import pathlib

import keras
import killed
import pytest
from networks import build, build_he, data, timeless

from keras_initx.studies import (
    RecordError,
    SettingsError,
    Study,
    compare_initializers,
    random_restarts,
)

pytestmark = pytest.mark.once


@pytest.mark.full  # a new process, beside those that are interrupted
def test_a_killed_study_comes_to_the_same_end():
    times, _, _ = killed.check(kills=1)
    assert times > 0


def interrupted_after(monkeypatch, count):
    """Have Ctrl-C pressed after the first epoch of the trial after `count` others."""
    fit, begun = keras.Model.fit, []

    def interrupt(epoch, logs):
        if len(begun) > count:
            raise KeyboardInterrupt

    def interrupted(model, *arguments, callbacks, initial_epoch, **options):
        if initial_epoch == 0:
            begun.append(model)
        callbacks = [*callbacks, keras.callbacks.LambdaCallback(on_epoch_end=interrupt)]
        return fit(model, *arguments, callbacks=callbacks, initial_epoch=initial_epoch, **options)

    monkeypatch.setattr(keras.Model, "fit", interrupted)


def test_an_interrupted_study_can_be_read(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        interrupted_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            compare_initializers(build, ["he_normal", "zeros"], data(), repeats=2, epochs=2, out=tmp_path)
    study = Study.read(tmp_path)
    assert [trial.status for trial in study.trials.values()] == ["finished", "interrupted", "missing", "missing"]
    assert len(study.trials["zeros", 1].epochs) == 2
    assert "zeros: 2 of 2 trials unfinished." in str(study)


def test_initializers_may_come_in_another_order(monkeypatch, tmp_path):
    names = ["he_normal", "zeros"]
    with monkeypatch.context() as patch:
        interrupted_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            compare_initializers(build, names, data(), repeats=2, epochs=1, out=tmp_path)
    resumed = compare_initializers(build, names[::-1], data(), repeats=2, epochs=1, out=tmp_path)
    assert timeless(resumed.records) == timeless(
        compare_initializers(build, names, data(), repeats=2, epochs=1).records
    )


def test_a_study_that_has_not_begun_can_be_read(tmp_path):
    def interrupted(initializer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_initializers(interrupted, ["he_normal", "zeros"], data(), out=tmp_path)
    study = Study.read(tmp_path)
    assert "zeros: 5 of 5 trials unfinished." in str(study)
    assert study.plots() == {}
    study.to_html(tmp_path / "report.html")


def full_after(monkeypatch, count):
    """Have the disk full after so many writes."""
    write, left = os.fsync, iter(range(count))

    def full(file):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file)

    monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_ends_a_study_which_goes_on_when_there_is_room(monkeypatch, tmp_path):
    arguments = {"build": build, "initializers": ["he_normal", "zeros"], "data": data(), "repeats": 1, "epochs": 2}
    with monkeypatch.context() as patch:
        full_after(patch, 7)
        with pytest.raises(RecordError, match=r"trials/1-1\.1\.jsonl cannot be written: .* No space left on device"):
            compare_initializers(**arguments, out=tmp_path)
    assert [trial.status for trial in Study.read(tmp_path).trials.values()] == ["finished", "interrupted"]
    study = compare_initializers(**arguments, out=tmp_path)
    assert [trial.status for trial in study.trials.values()] == ["finished"] * 2
    assert len(list(tmp_path.glob("trials/0-1.*"))) == 1


def test_a_state_that_finds_no_room_ends_restarts(monkeypatch, tmp_path):
    full_after(monkeypatch, 3)
    with pytest.raises(RecordError, match=r"trials/draw1-1\.\w+\.state cannot be written"):
        random_restarts(build_he, data(), n=2, epochs=1, out=tmp_path)
    assert [file.name for file in tmp_path.glob("trials/*")] == ["draw1-1.1.jsonl"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"repeats": 2}, "repeats=2, there 1"),
        ({"epochs": 2}, "epochs=2, there 1"),
        ({"seed": 1}, "seed=1, there 0"),
        ({"initializers": ["ones"]}, "initializers="),
        ({"data": (data()[1], data()[0])}, "data="),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_other_settings_are_refused(tmp_path, changes, name):
    settings = {"build": build, "initializers": ["zeros"], "data": data(), "repeats": 1, "epochs": 1}
    compare_initializers(**settings, out=tmp_path)
    with pytest.raises(SettingsError, match=rf"contains a run with other settings. Received: {name}"):
        compare_initializers(**{**settings, **changes}, out=tmp_path)


@pytest.mark.parametrize("form", [lambda x, y: [x, y], lambda x, y: (x, y, None)], ids=["lists", "no weights"])
def test_the_same_data_may_come_in_another_form(tmp_path, form):
    settings = {"repeats": 1, "epochs": 1, "diagnosis": False, "out": tmp_path}
    compare_initializers(build, ["zeros"], data(), **settings)
    compare_initializers(build, ["zeros"], [form(*part) for part in data()], **settings)
    assert len(list(tmp_path.glob("trials/*"))) == 1


def test_a_study_is_not_resumed_with_other_settings_of_keras(tmp_path):
    settings = {"repeats": 1, "epochs": 1, "diagnosis": False, "out": tmp_path}
    compare_initializers(build, ["zeros"], data(), **settings)
    before = keras.config.epsilon()
    keras.config.set_epsilon(1e-3)
    try:
        with pytest.raises(SettingsError, match=r"Received: epsilon=0.001, there 1e-07"):
            compare_initializers(build, ["zeros"], data(), **settings)
    finally:
        keras.config.set_epsilon(before)


def test_another_kind_of_run_is_refused(tmp_path):
    compare_initializers(build, ["zeros"], data(), repeats=1, epochs=1, out=tmp_path)
    with pytest.raises(SettingsError, match=r"contains another kind of run. Received: restarts, there compare"):
        random_restarts(build_he, data(), out=tmp_path)


def test_a_study_is_read_with_one_look_at_the_folder(monkeypatch, tmp_path):
    settings = {"repeats": 2, "epochs": 1, "diagnosis": False, "out": tmp_path}
    study = compare_initializers(build, ["he_normal", "zeros"], data(), **settings)
    assert [trial.first_batch for trial in study.trials.values()] == [{}] * 4
    looks, glob = [], pathlib.Path.glob

    def counted(path, pattern):
        looks.append(path)
        return glob(path, pattern)

    monkeypatch.setattr(pathlib.Path, "glob", counted)
    assert len(Study.read(tmp_path).trials) == 4
    assert len(looks) == 1


def test_a_finished_study_is_resumed_by_reading_each_log_once(monkeypatch, tmp_path):
    compare_initializers(build, ["he_normal", "zeros"], data(), repeats=2, epochs=1, out=tmp_path)
    read, read_text = [], pathlib.Path.read_text

    def counted(path, **options):
        read.append(path)
        return read_text(path, **options)

    monkeypatch.setattr(pathlib.Path, "read_text", counted)
    settings = {"repeats": 2, "epochs": 1, "out": tmp_path}
    study = compare_initializers(build, ["he_normal", "zeros"], data(), **settings, threshold=0.4)
    logs = [path for path in read if path.suffix == ".jsonl"]
    assert sorted(logs) == sorted(tmp_path.glob("trials/*.jsonl"))
    assert study == Study.read(tmp_path, threshold=0.4) != Study.read(tmp_path)
    assert study.threshold == 0.4
    with pytest.raises(TypeError, match=r"`threshold` must be a finite number. Received: threshold='a'"):
        Study.read(tmp_path, threshold="a")
