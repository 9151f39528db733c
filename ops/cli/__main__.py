"""`python -m ops.cli`: the same command where the console script is not on PATH."""

from ops.cli.program import main

if __name__ == "__main__":
    main()
