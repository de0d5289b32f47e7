"""Divide measured energy among iterations, requests, steps, roles and tenants (docs/method.md)."""
