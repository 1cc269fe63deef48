"""The metrics, each against arithmetic by hand, an independent computation or published numbers."""
