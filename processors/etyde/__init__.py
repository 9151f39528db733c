"""Practice on an instrument: how a session is put together, and what makes an étude a good one."""
