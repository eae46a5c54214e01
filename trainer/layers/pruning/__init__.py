"""AdaSparse: the domain-aware pruner, its regularization and the pruned network."""
