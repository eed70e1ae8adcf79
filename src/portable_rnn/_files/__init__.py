"""Atomic writes, locks, and the safetensors format."""
