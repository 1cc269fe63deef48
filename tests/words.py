"""Words that neither the code's text nor a page may use of a program."""

from __future__ import annotations

import re

PERSONS = re.compile(
    r"\b(who|whoever|whom|he|his|him|himself|she|her|(every|no|some|any)(body|one)|bury|buries|burying|buried"
    r"|forg[ia]v\w+|hear|hears|hearing|heard)\b",
    re.IGNORECASE,
)
"""Words that make a person of a program; name the worker, the supervisor, the caller or the reader instead."""
