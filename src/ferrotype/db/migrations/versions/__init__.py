"""One module a revision; the newest one's id is ``schema.HEAD``."""
