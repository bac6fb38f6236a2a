"""The HTTP API: requests -> service calls -> responses. No lower layer knows HTTP statuses or JSON keys."""
