"""The settings of a verification, the words of the command line for them, and what this machine lacks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from patcher.constants import MIN_LOGIT_SPARSITY, VERIFY_TIMEOUT
from patcher.errors import UsageError, VerificationError, see
from patcher.verify.messages import Measured
from patcher.verify.preconditions import check_machine, no_device
from patcher.verify.report import Report
from patcher.verify.texts import ProbeText

CHILD = "patcher.verify.measure.logits"
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")

MAX_TOKENS, USUAL_TOKENS = 520, 512  # where texts are cut: beyond the usual limit, if the model takes as many
BATCH_SIZE = 32
MAX_BATCH_TOKENS = 1024  # with padding; most memory is taken by the logits of a batch
MORE_MEMORY = "Use a machine with more memory, another --device, or --dtype bfloat16." + see("out-of-memory")
MAX_SINGLE_BATCH_TOKENS = 2048  # one model has half the logits

_VOCABULARY = 51_200  # NorBERT4's, which the numbers of tokens are for
# What `preconditions.check_machine` looks for beside the libraries.
SPARSE_ENCODER = {"sentence-transformers": ("--sparse-encoder needs", "'sentence-transformers>=6,<7'")}

Progress = Callable[[str, int, int], None]  # device, texts done, texts in all


def batch_tokens(most: int, vocabulary: int) -> int:
    """`most` tokens, and fewer for a vocabulary that is larger than NorBERT4's: the logits take most of the memory."""
    return max(1, min(most, most * _VOCABULARY // max(1, vocabulary)))


@dataclass(frozen=True)
class Verification:
    """How to verify a folder. `timeout` is in seconds, for each device.

    The figures of the first of `devices` lead the report; `attention` is a value for transformers'
    `attn_implementation`; `sandbox` is auto, bubblewrap, hook or none; `reference` is an interpreter with transformers
    4 that runs the published code.
    """

    texts: tuple[ProbeText, ...]
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "float32"
    attention: str | None = None
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY
    timeout: float = VERIFY_TIMEOUT
    sparse_encoder: bool = False
    batch_size: int = BATCH_SIZE
    sandbox: str = "auto"
    reference: Path | None = None

    def __post_init__(self) -> None:
        if self.reference is not None and (self.devices[0] != "cpu" or self.dtype != "float32"):
            raise UsageError(
                "--reference compares outputs on the CPU in float32.",
                "Leave out --device and --dtype, or put cpu first.",
            )

    def covers(self, report: Report) -> bool:
        """Whether a report passed and answers what this verification asks, on whatever device."""
        names = {check.name for check in report.all_checks}
        limits = [check.limit for check in report.all_checks if check.name == "relu_sparsity"]
        theirs = {"sparse_encoder_agrees", "sparse_encoder_loads", "sentence_transformer_loads"} & names
        return (
            report.passed
            and all(limit >= self.min_logit_sparsity for limit in limits)
            and report.texts == len(self.texts)
            and "modes_agree" in names
            and (not self.sparse_encoder or bool(theirs))
            and (self.reference is None or any(check.name == "reference_agrees" for check in report.checks))
        )


def parse_devices(words: str, reference: Path | None = None) -> tuple[str, ...]:
    """`cpu`, `cpu,cuda` and so on, the first being the one whose figures lead the report; with a reference, `cpu`.

    Raises UsageError for an unknown word, one that is repeated, and `auto` beside another.
    """
    if reference is not None and words.strip().lower() == "auto":
        return ("cpu",)
    devices = tuple(word.strip() for word in words.lower().split(","))
    for device in devices:
        if device not in DEVICES:
            why = f"{device!r} is not a valid device."
            raise UsageError(why, f"Use one of {', '.join(DEVICES)}, or several with commas: cpu,cuda.")
    if len(set(devices)) < len(devices):
        raise UsageError(f"--device {words} names a device twice.", "Name each device once: cpu,cuda.")
    if len(devices) > 1 and "auto" in devices:
        raise UsageError("`auto` stands for one device and can't be compared with others.", "Name them: cpu,cuda.")
    return devices


def parse_dtype(word: str) -> str:
    """Raises UsageError for a dtype that is not one of `DTYPES`."""
    if word not in DTYPES:
        raise UsageError(f"{word!r} is not a valid dtype.", f"Use one of {', '.join(DTYPES)}.")
    return word


def wants_sparse_encoder(asked: bool | None) -> bool:  # noqa: FBT001 - the value of an option
    """What was asked for; where nothing was, whether a sentence-transformers for transformers 5 is installed."""
    if asked is not None or find_spec("sentence_transformers") is None:
        return bool(asked)
    major = version("sentence-transformers").partition(".")[0]
    return major.isdigit() and int(major) >= 6


def check_available(answer: Measured, device: str, attention: str | None = None) -> None:
    """Raise an error if a child could not measure anything.

    UsageError for an attention that the code lacks, MissingRequirement for the device, VerificationError otherwise.
    """
    found = answer.unavailable
    if found is None:
        return
    if found.attention is not None:
        raise UsageError(found.attention, f"Leave out --attn {attention} to use the code's own attention.")
    if found.memory is not None:
        raise VerificationError(f"Out of memory on {device}: {found.memory}", MORE_MEMORY)
    if found.reason is not None:
        raise VerificationError(f"The model could not be run: {found.reason}", "Set HF_DEBUG=1 for the traceback.")
    raise no_device(device, found.devices)


def check_sentence_transformers(why: str) -> None:
    """Raise MissingRequirement if sentence-transformers is not installed; `why` says what needs it."""
    check_machine(packages={"sentence-transformers": (why, "'sentence-transformers>=6,<7'")})
