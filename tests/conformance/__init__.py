"""Agents that we did not write, played on the wire as they are, and what the server owes them."""
