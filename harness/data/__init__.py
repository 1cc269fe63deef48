"""From texts to batches: splits, windows of the context, injected mistakes, the seeded stream."""
