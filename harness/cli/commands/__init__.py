"""One file per kind of command; each calls one function and prints what it returns."""
