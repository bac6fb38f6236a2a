"""Bytes in motion: from a source, past watchers, into a sink."""
