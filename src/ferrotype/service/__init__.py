"""What one can do: a module for each noun, a function for each verb. Every verb reads fetch, judge, act, record."""
