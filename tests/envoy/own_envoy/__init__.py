"""Other people's Envoys: the examples for Istio and Envoy Gateway, and the manifests for Kubernetes."""
