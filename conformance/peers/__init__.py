"""Other libraries on the suite's own problems, held to the suite's own measure."""
