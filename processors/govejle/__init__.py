"""What the govejle processors share: reading events from Danish web pages. Pure, no I/O."""
