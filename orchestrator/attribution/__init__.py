"""Which request used the energy: sensor samples put on the records of iterations (docs/method.md)."""
