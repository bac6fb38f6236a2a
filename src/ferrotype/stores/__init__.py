"""Where bytes are kept: ``store`` is what the service calls, ``driver`` what a backend is, then a file for each."""
