"""How the layers of a network are run through time: in Python, by XLA, or compiled."""
