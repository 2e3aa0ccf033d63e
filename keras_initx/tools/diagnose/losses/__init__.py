"""What is known of a loss, and of the outputs and targets that it gets."""
