"""What requests and answers look like: JSON, redirects, cookies, errors, security headers, addresses.

Imports nothing of `oauth_web`. Begin with `responses`.
"""
