"""The commands of `multires`: a dataclass each, with its options as fields; torch is imported once one runs."""
