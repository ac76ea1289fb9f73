"""The checks before an endpoint works: rate limits, the pause of sign-ins, repeated requests.

May import `runtime` and what is below it.
"""
