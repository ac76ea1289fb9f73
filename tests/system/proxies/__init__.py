"""Proxies before the gateway: nginx, HAProxy and a cloud load balancer."""
