"""The gateway's own certificate from an ACME authority (RFC 8555): obtained, stored, renewed, given to Envoy."""
