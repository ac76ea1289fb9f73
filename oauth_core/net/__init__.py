"""URLs and addresses: parsed strictly, in one spelling, and classified.

Imports nothing else of ours. Begin with `public_urls`; `quoted_addresses` keeps secrets out of error messages.
"""
