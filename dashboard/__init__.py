"""The dashboard: what a store holds, in a browser.  Read-only, and without torch."""
