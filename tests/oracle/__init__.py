"""Everything about tiny languages by enumeration: what the losses must agree with.

`world`, `objective` and `generators` import nothing of the project; `tabular` hands their tables to its losses and
`third_party` holds plug-ins as another package would write them.
"""
