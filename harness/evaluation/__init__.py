"""From a trained policy to scores: the assembly of an `Evaluation`, the controls, and the scoring by metrics.

Read `evaluate.py` first: it assembles everything that metrics may look at, from likelihood, rollouts, mistakes and
exact laws, one file each.  `scoring.py` turns an evaluation into scores and needs no torch; `controls.py` evaluates the
ceiling and the floor; `temperature.py` chooses the sampling temperature on the validation split.

It may import the rows of `LAYERS` before its own (training, data, generation, models, stats, ...), but not storage.
"""
