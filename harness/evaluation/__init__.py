"""From a trained policy to scores: what metrics may look at, and the scores they give."""
