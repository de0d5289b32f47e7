"""Speed, measured: ``make bench`` runs everything and writes docs/benchmarks.md. No part of the product."""
