"""The supervisor: many workers that never drop a connection. `supervisor.Supervisor` is where to begin."""
