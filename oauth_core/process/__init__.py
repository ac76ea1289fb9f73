"""What every program needs while it runs: logs, private files, ports, processes, and a watch on the settings file.

`supervision` keeps programs running, `child_process` starts them, and `launch` ends them with their parent. May
import `settings` and what is below it. These modules act on the world, like those of `store`; the rest of
`oauth_core` is pure.
"""
