"""Causal language models as policies: built, loaded, adapted, exported."""
