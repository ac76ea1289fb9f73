"""What every program needs while it runs: logs, standard streams, and a watch on the settings file.

May import `settings` and what is below it. These modules act on the world, like those of `store`; the rest of
`oauth_core` is pure.
"""
