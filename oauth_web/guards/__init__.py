"""What an endpoint asks before it works: rate limits, pauses of sign-ins, requests sent twice.

May import `runtime` and what is below it.
"""
