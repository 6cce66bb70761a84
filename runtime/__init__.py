"""Greenroom: the session runtime for chat-driven AI agents."""

__version__ = "0.1.0"
