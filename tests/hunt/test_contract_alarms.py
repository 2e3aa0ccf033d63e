"""Contracts of all families, of one draw and of three, with few and with many weights: right draws give no alarm."""

import pytest
from right_draws import FAMILIES, alarms

AUDITS = 3
# The contracts that may have an alarm in each audit. Of a weight with another mean in each draw, three draws are as
# near to each other as those of one mean in 4 of 10,000 weights (of 4 million simulated ones). Then the contract states
# a mean, and nothing in the draws tells. 1.0 and 1.7 such contracts are expected; 6 have a chance of 1 in 130.
LASTING = {"another mean in each draw": 5}


# With an alpha of 1 %, more alarms have a chance of 1 in 2,000.
@pytest.mark.parametrize(("weights", "contracts", "most"), [(12, 200, 15), (200, 20, 4)])
@pytest.mark.parametrize(("family", "draws"), [(name, draws) for name, one in FAMILIES.items() for draws in one.draws])
def test_alarms_at_right_draws(family, draws, weights, contracts, most):
    found = alarms(family, draws, weights, contracts, AUDITS, pool=100)
    assert found.sum() <= most
    assert (found == AUDITS).sum() <= LASTING.get(family, 0)
