"""The `roughneck` command: one module per group of commands, loaded when it is asked for."""

from ops.cli.program import main

__all__ = ["main"]
