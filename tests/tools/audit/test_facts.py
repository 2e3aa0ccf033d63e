"""One description of each fact of a profile."""

from dataclasses import fields

from keras_initx.tools.audit._facts import FACTS
from keras_initx.tools.audit._profile import Profile


def test_each_field_of_a_profile_has_one_description():
    described = [fact.name for fact in FACTS]
    what_it_is = ["kind", "reason", "value", "law"]
    assert sorted([*described, *what_it_is]) == sorted(field.name for field in fields(Profile))
