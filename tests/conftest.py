"""How hard Hypothesis tries: some hundred cases as a rule, thousands with `--hypothesis-profile=fuzz`."""

from hypothesis import HealthCheck, settings

settings.register_profile("ordinary", max_examples=60, deadline=None, derandomize=True)
# New cases in each run; `--hypothesis-seed` repeats those of one.
settings.register_profile(
    "fuzz",
    max_examples=1000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ordinary")
