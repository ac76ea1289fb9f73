"""The doctor, with a healthy gateway and with gateways broken on purpose."""
