"""Periodic work of every worker: cleanup of orphans, delayed delete, probes of the stores."""
