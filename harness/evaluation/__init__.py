"""From a trained policy to scores: the assembly of an `Evaluation`, the controls, and the scoring by metrics.

Read `evaluate.py` first: it assembles everything that metrics may look at, from likelihood, rollouts, mistakes and
exact laws, one file each.  `scoring.py` turns an evaluation into scores and needs no torch; `controls.py` evaluates the
ceiling and the floor; `temperature.py` chooses the sampling temperature on the validation split.

Below it in `LAYERS`: training, data, generation, models, metrics, stats and what these stand on.  It knows no store.
"""
