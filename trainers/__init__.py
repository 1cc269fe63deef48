"""One file per training rule."""
