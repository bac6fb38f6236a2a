"""Records <-> SQL. Statements are written with SQLAlchemy, compiled once, and run on the drivers' own connections."""
