"""Train and fit models: data, plan, loop, resumable state."""
