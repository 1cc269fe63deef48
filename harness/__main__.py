"""The command `harness` as `python -m harness`, for an interpreter that has no scripts on the path."""

from harness.cli.app import main

if __name__ == "__main__":
    main()
