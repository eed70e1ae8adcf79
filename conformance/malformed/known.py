"""Functions of which it is known that not every malformed call ends as it should."""

__all__ = ["NOT_YET"]

# A test fails where one of these has no such call any more: the list is to become empty.
NOT_YET: frozenset[str] = frozenset()
