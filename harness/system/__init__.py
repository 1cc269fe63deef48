"""What the harness asks of the machine: files that appear whole, processes, devices, provenance."""
