"""Defaults that the command line shows in its help; here, so that help costs no imports."""

MIN_LOGIT_SPARSITY = 0.98
VERIFY_TIMEOUT = 1800.0  # seconds; the largest model of the family on a slow CPU
HUB_TIMEOUT = 60.0  # seconds to wait for each answer of the Hub
THRESHOLD = 0.05
