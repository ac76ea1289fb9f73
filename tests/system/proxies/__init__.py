"""Proxies that operators put before the gateway: nginx, HAProxy and a balancer of a cloud."""
