"""The resources of the Image API and their state machines. Pure: no I/O, no authorization."""
