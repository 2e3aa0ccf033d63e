"""Of nine recent architectures the healthy networks have no problem, and the broken ones those that were planted."""

import architectures
import pytest
from test_confusion import report_of

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", architectures.HEALTHY)
def test_a_healthy_architecture_has_no_problem(name):
    assert report_of(architectures.HEALTHY[name]).problems == []


LARGE = {"diffusion transformer, gates and last kernel of deviation 3"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] * (name in LARGE)) for name in architectures.BROKEN]
)
def test_a_broken_architecture_has_the_problem_that_was_planted(name):
    build, expected = architectures.BROKEN[name]
    assert expected[0] in [verdict.problem for verdict in report_of(build).problems]
