//! Nothing: this package only pins kryoptic and its features.
