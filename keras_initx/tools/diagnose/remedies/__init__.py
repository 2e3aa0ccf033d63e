"""Remedies that several verdicts share. They use facts, and no verdict.

`propose_...` makes a `Remedy`, or `None` if it would change nothing: for example because the
weights already follow it.
"""
