"""The artefacts of the paper, each a module of configurations."""
