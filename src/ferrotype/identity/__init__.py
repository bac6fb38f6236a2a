"""Who is calling? A request's credentials -> a Caller with facts. What they may do is not decided here."""
