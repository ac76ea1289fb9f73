"""Several of everything, as on several machines: what callers see when one of them dies, leaves or is new."""
