"""Array modules to try the suite on: see conformance/README.md."""
