"""The calculus: one layer over one chunk of time, and networks made of layers and chunks."""
