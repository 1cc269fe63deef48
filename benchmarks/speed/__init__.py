"""Speed comparisons with the tools of the field, the rows of `harness bench`, and two scripts that time by themselves.

Read `models` first: the model, texts and runs that all share.  `training`, `sampling`, `loss`, `scores` and `running`
define rows by `harness.plugins.speed`; `curves` draws costs against sizes, `dashboard` times its pages.  May import
everything.
"""
