"""The check service, over its wire and as a process."""
