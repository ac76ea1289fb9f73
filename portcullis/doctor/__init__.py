"""Checks a running gateway from outside, as a client and as an attacker."""
