"""Causal language models as policies: built, loaded, adapted with LoRA, exported.

Read `policy.py` first, then `codec.py` (text <-> tokens) and `pretrained.py` (the transformers model behind a policy).
`architectures/` holds the differences between families.
The only package that imports transformers, peft and tokenizers.  May import errors, hashing, records, registry,
seeding, config, actions, system and plugins; never storage.
"""
