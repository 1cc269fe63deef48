"""Shipped grids: named ablations, one YAML file each; `harness ls grids` lists them."""
