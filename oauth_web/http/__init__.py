"""The form of requests and answers: JSON, redirects, cookies, errors, security headers, addresses.

Imports nothing of `oauth_web`. Begin with `responses`.
"""
