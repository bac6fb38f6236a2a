"""Data in motion: from a source, past observers, into a sink."""
