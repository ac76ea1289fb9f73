"""Every rule at the edge, tried by sending what breaks it, raw, through a real Envoy; and the table of it."""
