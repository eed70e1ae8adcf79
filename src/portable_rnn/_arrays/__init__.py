"""Arrays of any library, and plain options: whose they are, and whether they fit."""
