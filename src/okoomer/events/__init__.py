"""What happens, as typed events: log lines, JSON, the journal and `why` are views of the same stream."""
