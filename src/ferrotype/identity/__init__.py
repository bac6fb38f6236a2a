"""Authentication: a request's credentials -> a Caller. Authorization is in ``rules``."""
