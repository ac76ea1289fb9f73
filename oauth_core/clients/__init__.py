"""OAuth clients: their metadata, registration, authentication and client ID documents.

May import `policy` and what is below it. Begin with `client_metadata`.
"""
