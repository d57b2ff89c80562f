"""What keeps a server healthy whatever is asked: how much runs, what runs, and what ends it."""
