"""The named ablations that ship with the harness, one YAML file each."""
