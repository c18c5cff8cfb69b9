"""Environments that need no Unity: worlds simulated in Python, and the players that offer them to a trainer."""
