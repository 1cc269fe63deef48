"""The action space: tokens, the end and `<backspace>`; action sequences as one masked batch.

The only package that knows `<backspace>`.  Read `batch` first: `pack` lays trajectories out, `ActionValues` is the
policy's answer.  `space` has the ids, `weights` the weight of each step, `noise` the injected mistakes.
May import what stands before it in `LAYERS`: errors, hashing and records.
"""
