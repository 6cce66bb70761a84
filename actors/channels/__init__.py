"""The channels: chat networks, and the gateway for clients."""
