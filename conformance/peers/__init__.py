"""Other libraries on the problems of the suite, by its measure of error."""
