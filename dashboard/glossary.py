"""The words of the field that a page uses, each in one sentence."""

from __future__ import annotations

WORDS = {
    "backspace": "An action that deletes the last token, so that the model can take back its own mistakes.",
    "effect": "How far a setting moves the score, averaged over all other settings that were run with it.",
    "divergence": "What the objective minimises: a distance between the model's and the data's occupancies.",
    "interval": "95 % Student t over seeds: how far the mean may be off because only n seeds were run.",
    "mauve": "How close the distribution of generated texts is to the expert texts', from 0 to 1 (higher is closer).",
    "n": "How many seeds were run.",
    "occupancy": "How often a policy is in a state and takes an action there, later steps counting less.",
    "perplexity": "How surprised the model is by expert texts: 1 would be certainty (lower is better).",
    "rank": "1-3 means: at least first, at most third. Rows whose ranges overlap are not told apart by these seeds.",
    "rollout": "A text that the model wrote by itself.",
    "seed": "The number that a run's randomness starts from; several seeds show how much is luck.",
    "token": "A piece of text, the unit in which the model writes.",
}
