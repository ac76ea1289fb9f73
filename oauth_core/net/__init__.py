"""URLs and addresses: parsed strictly, in one form, and classified.

Imports no other part of `oauth_core`. Begin with `public_urls`; `quoted_addresses` keeps secrets out of error
messages.
"""
