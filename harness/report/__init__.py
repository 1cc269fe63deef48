"""Comparisons of stored scores in print: leaderboards, differences, overhead, validity, exports.

Read `leaderboard` first, then `tables` (one table of it) and `board` (its plain values); `rendering` draws for a
terminal, `exports` writes files, `sentences` has the findings in words.  `compare`, `overhead` and `validity` are
other views.  May import what stands before it in `LAYERS`, of which it uses config, stats, storage and analysis.
Loads no torch.
"""
