"""Side-by-side timings, each a script that prints a table."""
