"""Stages that go wrong, for test_gpu.py."""
