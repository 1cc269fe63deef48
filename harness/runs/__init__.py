"""What can be done with a finished run: load its policy, score it again, train it again."""
