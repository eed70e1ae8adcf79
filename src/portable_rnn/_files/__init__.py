"""Files that are whole or as they were, locked, checked."""
