"""The named flows that ship: one module each, found by being here."""
