"""Ways for a Check to come in. They carry bytes, behave alike and decide nothing."""
