"""Uses a trained, capped SPLADE model with a threshold: checks it, finds the threshold, builds it in."""
