"""A study goes on where it was stopped, with what is there and no other settings."""

import errno
import json
import os
import shutil

import keras
import pytest
from networks import build, build_he, data, timeless

from keras_initx import compare_initializers, random_restarts
from keras_initx.types import SettingsError

NAMES = ["he_normal", "zeros"]


def run(out, **changes):
    arguments = {"build": build, "initializers": NAMES, "data": data(), "repeats": 2, "epochs": 1, **changes}
    return compare_initializers(**arguments, out=out)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a study that is finished, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """Return a folder of a study that is finished, which a test may change."""
    return shutil.copytree(finished, tmp_path / "copied")


@pytest.fixture(scope="module")
def undisturbed():
    return timeless(run(None).rows)


def stopped_after(monkeypatch, count, error):
    """Have training end by an error in the trial after `count` others."""
    fit, begun = keras.Model.fit, []

    def stopped(model, *arguments, **options):
        begun.append(model)
        result = fit(model, *arguments, **options)
        if len(begun) > count:
            raise error
        return result

    monkeypatch.setattr(keras.Model, "fit", stopped)


def test_an_interrupted_study_goes_on_with_the_same_result(monkeypatch, tmp_path, undisturbed):
    with monkeypatch.context() as patch:
        stopped_after(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    there = contents(tmp_path)
    assert len(there) == 1 + 1
    study = run(tmp_path)
    assert there.items() < contents(tmp_path).items()
    assert timeless(study.rows) == undisturbed


def test_a_finished_study_is_not_run_again(monkeypatch, finished, undisturbed):
    there = contents(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    again = run(finished, title="another title", threshold=0.4)
    assert contents(finished) == there
    assert timeless(again.rows) == undisturbed
    assert (again.title, again.threshold) == ("another title", 0.4)


@pytest.mark.rare
def test_more_repeats_and_more_initializers_go_on(tmp_path):
    first, there = run(tmp_path), contents(tmp_path)
    more = run(tmp_path, initializers=["ones", *NAMES[::-1]], repeats=3)
    assert there.items() < contents(tmp_path).items()
    assert first.trials.items() < more.trials.items()
    assert len(more.trials) == 9


def test_a_trial_that_failed_or_was_cut_off_is_run_again(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        stopped_after(patch, 3, OSError("no room left"))
        assert run(tmp_path).trials["zeros", 2]["error"] == "OSError: no room left"
    assert len(contents(tmp_path)) == 1 + 3
    (file,) = tmp_path.glob("zeros.*.1.json")
    whole = json.loads(file.read_text())
    file.write_text(file.read_text()[:100])
    study = run(tmp_path)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert timeless(json.loads(file.read_text())["epochs"]) == timeless(whole["epochs"])


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda trial: {}, "without 'arm', 'repeat', 'given', 'status', 'epochs', 'directions'"),
        (lambda trial: {key: trial[key] for key in ("arm", "repeat", "given")}, "without 'status', 'epochs'"),
        (lambda trial: {**trial, "repeat": 2}, "with repeat 2 of 'zeros'"),
        (lambda trial: {**trial, "arm": "ones"}, "with repeat 1 of 'ones'"),
    ],
    ids=["nothing", "no result", "another repeat", "another arm"],
)
def test_a_file_that_is_not_of_this_trial_is_named(change, received, copied):
    (file,) = copied.glob("zeros.*.1.json")
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(
        ValueError, match=rf"must be the result of repeat 1 of 'zeros'.*zeros\.\w+\.1\.json, {received}"
    ):
        run(copied)
    file.unlink()
    assert len(run(copied).trials) == 4


@pytest.mark.rare
def test_a_full_disk_ends_a_study_and_leaves_whole_files(monkeypatch, tmp_path, undisturbed):
    write, left = os.fsync, iter(range(2))

    def full(file):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            run(tmp_path)
    assert sorted(path.name[:5] for path in tmp_path.iterdir()) == ["he_no", "study"]
    assert timeless(run(tmp_path).rows) == undisturbed


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"seed": 1}, "seed=1, there 0"),
        ({"initializers": {"zeros": "ones"}}, 'zeros="ones", there "zeros"'),
        ({"initializers": {"zeros": keras.initializers.HeNormal()}}, 'zeros="keras.*HeNormal", there "zeros"'),
        ({"data": data()[::-1]}, 'data="\\w+", there "\\w+"'),
        ({"build": lambda initializer: build(initializer)}, "another `build`"),
        ({"epochs": 2, "batch_size": 8}, "batch_size=8, there 32; epochs=2, there 1"),
    ],
    ids=["seed", "string", "initializer", "data", "build", "several"],
)
def test_other_settings_are_refused_by_name(finished, changes, received):
    there = contents(finished)
    with pytest.raises(SettingsError, match=f"has a study with other settings. Received: {received}$"):
        run(finished, **changes)
    assert contents(finished) == there


def test_other_settings_of_keras_and_another_kind_of_study_are_refused(monkeypatch, finished):
    with pytest.raises(SettingsError, match='kind="restarts", there "initializers"'):
        random_restarts(build_he, data(), epochs=1, out=finished)
    monkeypatch.setattr(keras.config, "epsilon", lambda: 1e-3)
    with pytest.raises(SettingsError, match=r"epsilon=0.001, there 1e-07"):
        run(finished)


def test_a_folder_of_an_earlier_form_is_refused(tmp_path):
    tmp_path.joinpath("trials").mkdir()
    tmp_path.joinpath("study.json").write_text('{"kind": "compare", "settings": {}, "digest": "0"}')
    with pytest.raises(SettingsError, match="`out` must be a new folder, or one of a study of this version"):
        run(tmp_path)


@pytest.mark.rare
def test_names_that_no_file_may_have_are_told_apart(tmp_path):
    study = run(tmp_path, initializers={"a/b": "zeros", "a:b": "he_normal"})
    assert run(tmp_path, initializers={"a/b": "zeros", "a:b": "he_normal"}).trials == study.trials
    assert study.trials["a/b", 1]["epochs"] != study.trials["a:b", 1]["epochs"]
