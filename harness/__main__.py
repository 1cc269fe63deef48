"""`python -m harness` is the command `harness`, for whoever knows the interpreter but not where its scripts are."""

from harness.cli.app import main

if __name__ == "__main__":
    main()
