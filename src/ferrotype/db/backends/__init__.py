"""One module for each kind of database: everything in which it differs from the others."""
