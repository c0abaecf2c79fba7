"""Pure decisions: the policy's model, the engine that runs it and the choice of a victim."""
