"""Training: the loop and its parts. Start at `semibench.training.loop.train`."""
