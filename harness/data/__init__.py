"""From texts to batches: splits, windows of the context, injected mistakes, the seeded stream.

Read `windows.py` first (texts as rows), then `stream.py` (rows in a seeded order); `actions/batch.py` packs them.
May import generation (mistakes are sampled from a policy), models and what these may import; never storage.
"""
