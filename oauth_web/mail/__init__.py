"""Mails to people about what happened: their texts, and sending what waits in Redis.

Imports `oauth_web.endpoints`, whose words it uses. Begin with `sender`. An attempt is a process: `smtp_attempt`.
"""
