"""The conformance suite: one network, many array libraries, the same gradients. See README.md."""
