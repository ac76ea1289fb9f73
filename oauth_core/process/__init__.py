"""Runtime support for every program: logs, metrics, private files, ports, processes, and the settings watcher.

`supervision` keeps programs running, `child_process` starts them, `process_template` forks them, and `launch` ends
them with their parent. May import `settings` and the folders below it. These modules have side effects, like those
of `store`; the rest of `oauth_core` is pure.
"""
