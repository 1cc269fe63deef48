"""Stored runs as groups with costs and effects; what runs wrote, side by side.  No torch."""
