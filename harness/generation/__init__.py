"""How a policy writes: decoders, batched sampling with backtracking, best-of-n."""
