"""Names and defaults that several packages share: files of a patched folder, versions of formats, limits of commands.

The defaults that the command line shows in its help stand here so that help costs no imports.
"""

TOOL, TOOL_URL = "splade-patcher", "https://pypi.org/project/splade-patcher/"
# The keys of config.json that may say how many tokens of a text the model takes.
CONTEXT_KEYS = ("max_sequence_length", "max_position_embeddings", "n_positions")
SCHEMA_VERSION = 1  # of every JSON document that is written or printed

# Files of a patched folder.
CARD, CONFIG, RECORD, REPORT, PAGE = "README.md", "config.json", "patch.json", "report.json", "report.html"
TOKENIZER, WEIGHTS = "tokenizer_config.json", "model.safetensors"  # the latter where they are in one file
# The records of other folders that can be published: an export, a copy with a threshold, a trained model.
EXPORT_RECORD, THRESHOLD_RECORD, TRAINING_RECORD = "export.json", "threshold.json", "training.json"
PLOTS = tuple(
    f"plots/{name}.{kind}" for name in ("logits", "sparsity", "active_dims", "shift") for kind in ("png", "svg")
)
# Drawn from the report: about the other files, so that no report hashes them and no record lists them.
DRAWN = frozenset({PAGE, *PLOTS})

# The codemods that let a model load on transformers 5.
REPAIRS = ("removed_methods", "tied_weights", "config_defaults", "computed_buffers", "max_length")

MIN_LOGIT_SPARSITY = 0.98
VERIFY_TIMEOUT = 1800.0  # seconds; the largest model of the family on a slow CPU
HUB_TIMEOUT = 60.0  # seconds to wait for each answer of the Hub
THRESHOLD = 0.05  # activations below it become zero
MAX_LOSS = 0.01  # of a ranking metric, as a share of what it was without a threshold
