"""Pure rules of conversations: identity, queueing, turns, relay. No I/O, no Trio."""
