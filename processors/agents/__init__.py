"""The agents that ship: one module each, found by being here."""
