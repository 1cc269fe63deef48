"""What runs have scored, compared: leaderboards, differences, exports.  Loads no torch."""
