"""The cast: the actors of the runtime, its agents and its channels."""
