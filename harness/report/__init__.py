"""What runs have scored, compared: leaderboards, differences, ranks, exports.  Reads the store, loads no torch."""
