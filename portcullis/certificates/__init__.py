"""The gateway's own certificate: had from an ACME authority (RFC 8555), kept, renewed in time, handed to Envoy."""
