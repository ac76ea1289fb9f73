"""The check service: answers Envoy's question whether a request may pass, and says as whom."""
