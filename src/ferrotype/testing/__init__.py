"""Test support, shipped for projects that test against Ferrotype. The product itself never imports this package."""
