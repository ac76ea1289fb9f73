"""The command `portcullis`: runs the gateway on one machine, renders Envoy's configuration, checks deployments."""
