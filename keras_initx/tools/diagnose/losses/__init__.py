"""Facts about a loss, and about its outputs and targets."""
