"""The operations of the API: a module per resource, a function per operation: fetch, check, act, record."""
