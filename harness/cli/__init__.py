"""The command line, the top of the layers: it may import every package.

Read `app` first: the list of commands.  A command is a function of a module in `commands/`; it calls one function of
another package and prints the result.  Modules here serve several commands: `arguments` (options), `cells` (run cells),
`output` (print and write), `progress` and `watch` (live displays), `signals`, `describe` (`harness info`), `doctor`.
Only this package imports typer.
"""
