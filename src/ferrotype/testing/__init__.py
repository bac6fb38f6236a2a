"""Test support; the product never imports it. The wheel has ``store_suite`` of it, for authors of stores."""
