"""Decisions, pure: plain functions over plain records. Nothing here waits."""
