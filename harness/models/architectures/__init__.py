"""Differences between families of transformers models, so that one policy can be any of them.

Read `kinds.py` first: the abilities of a model.  `masks.py` has windows and chunks by position in the reduced text,
`families.py` the few that compute masks or positions in a way of their own, `head.py` the path from a state to logits,
`stream.py` states in the order of a text, for models that cannot go back.
"""
