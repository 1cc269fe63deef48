"""The training of one run: the loop, its replay buffer, checkpoints and resuming, and the policies that are kept.

Read `loop.py` first: every trainer goes through it.  `replay_buffer.py` holds the rollouts that a loss asks for;
`resume.py` runs the loop from the newest whole checkpoint (`checkpoint.py`) on.  `base_model.py` trains what all cells
of a grid share; `trained_policies.py` keeps the result for other decoders and for export.

It may import the rows of `LAYERS` before its own (data, generation, models, plugins, ...), but not storage.
"""
