"""Start or join a Ray cluster, probe its nodes, run workers and workflow task graphs."""
