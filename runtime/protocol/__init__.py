"""The wire protocol: JSON-RPC 2.0, the Agent Client Protocol, and our extensions to it."""
