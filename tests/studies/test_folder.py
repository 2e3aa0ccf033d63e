"""A study goes on where it was stopped, with what is there and no other settings."""

import errno
import functools
import json
import os

import keras
import numpy as np
import pytest
from networks import build, build_he, data, timeless

from keras_initx.studies import SettingsError, compare_initializers, random_restarts
from keras_initx.studies._folder import described

NAMES = ["he_normal", "zeros"]


def run(out, **changes):
    arguments = {"build": build, "initializers": NAMES, "data": data(), "repeats": 2, "epochs": 1, **changes}
    return compare_initializers(**arguments, diagnosis=False, out=out)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a study that is finished, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


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


@pytest.mark.parametrize("left", [(), ("arm", "repeat", "given")])
def test_a_file_with_other_json_is_named_with_what_it_must_have(left, tmp_path):
    run(tmp_path)
    (file,) = tmp_path.glob("zeros.*.1.json")
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({key: whole[key] for key in left}))
    with pytest.raises(ValueError, match=r"must have 'arm', 'repeat', .*zeros\.\w+\.1\.json, without .*'status'"):
        run(tmp_path)


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
        ({"initializers": {"zeros": keras.initializers.HeNormal()}}, "another `zeros`"),
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


def test_names_that_no_file_may_have_are_told_apart(tmp_path):
    study = run(tmp_path, initializers={"a/b": "zeros", "a:b": "he_normal"})
    assert run(tmp_path, initializers={"a/b": "zeros", "a:b": "he_normal"}).trials == study.trials
    assert study.trials["a/b", 1]["epochs"] != study.trials["a:b", 1]["epochs"]


def by_closure(value):
    return lambda initializer: (initializer, value)


def with_default(value):
    def made(initializer, own=value):
        return initializer, own

    return made


def with_keyword(value):
    def made(initializer, *, own=value):
        return initializer, own

    return made


class Made:
    def __init__(self, value):
        self.value = value

    def __call__(self, initializer):
        return initializer, self.value


@pytest.mark.parametrize(
    "make",
    [
        by_closure,
        with_default,
        with_keyword,
        Made,
        lambda value: functools.partial(build, units=value),
        lambda value: Made(value).__call__,
    ],
    ids=["closure", "default", "keyword", "object", "partial", "method"],
)
def test_functions_are_told_by_their_source_and_what_is_around_them(make):
    values = [
        *(1, 2, "one", [1, 2], {"a": 1}, {1, 2}, np.zeros(2), np.ones(2)),
        *(keras.initializers.HeNormal(), keras.initializers.HeUniform(), keras.initializers.Constant(2.0)),
    ]
    found = [json.dumps(described(make(value))) for value in values]
    assert len(set(found)) == len(values)
    assert found == [json.dumps(described(make(value))) for value in values]


def test_models_and_what_leads_back_to_itself_can_be_around_a_function():
    models = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        models.append(build_he())
    one, same, other = (json.dumps(described(by_closure(model))) for model in models)
    assert one == same != other
    loop = Made(None)
    loop.value = [loop]
    assert json.dumps(described(by_closure(loop)))
