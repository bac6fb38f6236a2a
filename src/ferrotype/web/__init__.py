"""HTTP in, HTTP out. Nobody below this room knows a status code."""
