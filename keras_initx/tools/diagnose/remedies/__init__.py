"""Remedies that several verdicts share. They ask facts, and no verdict."""
