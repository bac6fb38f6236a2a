"""The resources of the Image API and their state tables. Pure: no I/O, no authorization."""
