"""`roughneck top`: the terminal UI.

State and what is derived from it are pure; polling, keys and drawing are modules of their own, and
only `app`, `table` and `dialogs` know Textual.
"""
