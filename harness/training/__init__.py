"""One run's training: the loop, its replay buffer, checkpoints, the shared base model."""
