"""Streaming of image data: from a source, past observers, into a sink."""
