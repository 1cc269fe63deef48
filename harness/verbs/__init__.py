"""The verbs of the command line, one file per kind of question; each calls one function and prints what it returns."""
