"""The three ports of the engine: agents below, chat networks beside, clients in front."""
