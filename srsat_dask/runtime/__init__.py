"""Where and how work runs: cluster profiles, the shard runner, progress."""
