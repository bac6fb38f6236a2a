"""What operators run beside the service: the consistency check, and seeding for measurements."""
