"""Where bytes are kept. ``store`` is what the service calls; ``driver`` is what a backend is; a file for each backend."""
