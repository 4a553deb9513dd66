"""What sets up a machine and runs private services on it, for demo and tests; standard library only."""
