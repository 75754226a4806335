"""Fifth floor: the training loop, its schedules and optimisers, checkpoints, exact resume, and its log."""
