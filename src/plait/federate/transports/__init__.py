"""How tasks reach clients: straight calls, an engine's actors, or what an interrupted run left behind."""
