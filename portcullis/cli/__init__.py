"""The entry point of the command line, and what commands have in common: options, settings, identifiers.

Commands import from here; `main` finds them by name.
"""
