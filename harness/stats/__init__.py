"""Statistics over seeds: intervals, permutation tests, power and tied ranks.

Read `permutation` first: the joint sign flips on which the ranks of `ranks` and the power of `power` stand;
`intervals` has the means, `simultaneous` the intervals that stand beside a verdict.  May import what stands before it
in `LAYERS`: errors, hashing, records, registry, seeding, config, actions and system; it needs `seeding` alone.  Loads
no torch and reads no store.
"""
