"""What every plug-in must keep to, whoever wrote it."""
