"""The dashboard: runs, scores and rollouts of a store in a browser.  Read-only, and without torch.

Read `app` first: navigation and the grid that is shown; each page is a file of `app_pages/`.  Pages read the store
through `run_queries` and `score_queries`, and draw with `widgets`, `charts`, `boards` and `player`; `selectors` has the
choices that stand in the URL.  Imports harness.storage, stats, analysis, report, registry and errors, and no page.
"""
