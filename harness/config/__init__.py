"""What one run is, as pydantic models: `RunConfig` in `run`, one file per section.  No torch."""
