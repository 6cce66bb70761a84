"""The published TypeScript SDK against the real runtime: as a client, and as an agent."""
