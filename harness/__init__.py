"""A benchmark harness for training objectives of autoregressive language models."""
