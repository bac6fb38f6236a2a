"""Shipped with the service for those who test it or build on it. Nothing in the product imports this room."""
