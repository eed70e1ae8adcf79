"""Detect the library of arrays, and check arrays and options."""
