"""TLS at the edge: versions, certificates from files and from ACME authorities, redirects, client certificates."""
