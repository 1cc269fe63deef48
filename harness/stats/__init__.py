"""Intervals, permutation tests, power and tied ranks over seeds.  No torch."""
