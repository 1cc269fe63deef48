"""Stored runs as numbers: groups of runs, their costs, effects and budgets; their texts side by side.

Read `groups` first: runs become the rows of a table.  `filters` selects runs, `costs` and `budgets` compare at an
equal cost, `effects` averages over the factors of a grid, `samples` and `replay` show rollouts.  May import what
stands before it in `LAYERS`, of which it uses config, plugins, stats and storage.  Loads no torch.
"""
