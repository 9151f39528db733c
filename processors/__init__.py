"""What the platform can do: the sdk, the built-in processors, and the runtime that runs them."""
