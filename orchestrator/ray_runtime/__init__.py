"""The Ray seam: start or join a cluster, probe its nodes, run workers and workflow task graphs."""
