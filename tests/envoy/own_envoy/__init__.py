"""Envoys that other projects configure: the examples for Istio and Envoy Gateway, and the manifests for
Kubernetes.
"""
