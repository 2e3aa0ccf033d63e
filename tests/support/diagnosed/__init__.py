"""The table of cases: small networks, faulty and repaired, and healthy ones, that `diagnose` is tried on."""

from diagnosed import data, gradients, losses, weights
from diagnosed.healthy import HEALTHY
from diagnosed.networks import Case

__all__ = ["FAULTY", "HEALTHY", "Case"]

FAULTY = {**data.FAULTY, **losses.FAULTY, **weights.FAULTY, **gradients.FAULTY}
