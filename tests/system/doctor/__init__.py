"""The doctor, against a gateway in health and against gateways broken on purpose."""
