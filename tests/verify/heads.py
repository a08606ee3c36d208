"""Heads that behave otherwise in one mode of use than in another, and heads that only look so.

A head is the modeling file of the miniature with other lines around the cap of its masked-language-model class. `$x` in
them stands for the variable of the logits. `sound` says whether the removal of the cap is right for everybody who runs
the model. A head that is not sound is refused by planning; `dynamic` marks the few whose values planning can't know,
which the verification has to fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

MINI = Path(__file__).parents[1] / "snapshots" / "norbert4-mini"
MODES = (
    "train",
    "gradient",
    "length",
    "batch",
    "labels",
    "tuple",
    "hidden states",
    "dtype",
    "environment",
    "structure",
)
# Right as they are, and refused: the walk along the logits ends there, which the refusal says.
NOT_FOLLOWED = {"a nested function", "a lambda"}
LOGITS = "subword_prediction"
CAP = "$x = 30 * torch.sigmoid($x / 7.5)"
CLASS = "class GptBertForMaskedLM(GptBertModel):\n"
PROJECTION = f"        {LOGITS} = self.classifier(hidden_states[-1])\n"
INIT = "        super().__init__(config, add_mlm_layer=True, **kwargs)\n"
LOSS = "        loss = None\n"
FORWARD = "    def forward(\n"
TUPLE = f"            output = ({LOGITS},) + ((hidden_states,) if output_hidden_states else ())\n"
RETURN = f"        return MaskedLMOutput(loss=loss, logits={LOGITS}, hidden_states=hidden_states)\n"
LAST_LAYER = "        return self.emb2vocab(self.post_norm(x))\n"
CLAMP = "$x = $x.clamp(min=0)"
PLAIN_RETURN = "return MaskedLMOutput(loss=loss, logits=$x, hidden_states=hidden_states)"


@dataclass(frozen=True)
class Head:
    """The mode in which a head differs, what is changed, and whether taking its cap off is right.

    `before` and `after` stand around the cap, `decorator` and `methods` above `forward`, `init` at the end of
    `__init__`, `top` and `bottom` around the class in the file.
    """

    mode: str
    name: str
    sound: bool = False
    dynamic: bool = False
    cap: str = CAP
    before: str = ""
    after: str = ""
    projection: str = ""
    decorator: str = ""
    methods: str = ""
    init: str = ""
    top: str = ""
    bottom: str = ""
    bases: str = ""
    tuple_output: str = ""
    output: str = ""
    last_layer: str = ""

    def code(self) -> str:
        """The modeling file with this head."""
        text = (MINI / "modeling_gptbert.py").read_text("utf-8")
        start = text.index(CLASS)
        end = text.index("\n\nclass ", start)
        head, above = text[start:end], text[:start]
        for old, new in self._changes():
            assert head.count(old) == 1, old
            head = head.replace(old, new)
        if self.last_layer:
            assert above.count(LAST_LAYER) == 1
            above = above.replace(LAST_LAYER, _indented(self.last_layer, 8))
        text = above + _indented(self.top, 0) + head + text[end:] + "\n\n" + _indented(self.bottom, 0)
        return text.replace("$x", LOGITS)

    def _changes(self) -> Iterator[tuple[str, str]]:
        cap = f"        {CAP}\n".replace("$x", LOGITS)
        yield cap, _indented("\n".join([self.before, self.cap, self.after]).strip("\n"), 8)
        yield INIT, INIT + _indented(self.init, 8)
        yield FORWARD, _indented(self.methods, 4) + _indented(self.decorator, 4) + FORWARD
        for old, new, depth in (
            (TUPLE, self.tuple_output, 12),
            (RETURN, self.output, 8),
            (PROJECTION, self.projection, 8),
        ):
            if new:
                yield old, _indented(new, depth)
        if self.bases:
            yield CLASS, CLASS.replace("GptBertModel", self.bases)


def _indented(code: str, width: int) -> str:
    code = dedent(code)
    return indent(code if code.endswith("\n") or not code else code + "\n", " " * width)


def when(test: str, then: str = CLAMP) -> str:
    """A branch around one line."""
    return f"if {test}:\n    {then}"


def changed(name: str, mode: str, **code: str) -> Head:
    """A head of which taking the cap off is wrong, and planning sees it."""
    return Head(mode, name, **code)  # type: ignore[arg-type]


def right(name: str, mode: str, **code: str) -> Head:
    """A head of which taking the cap off is right."""
    return Head(mode, name, sound=True, **code)  # type: ignore[arg-type]


def hidden(name: str, mode: str, **code: str) -> Head:
    """A head of which taking the cap off is wrong, and only a run shows it."""
    return Head(mode, name, dynamic=True, **code)  # type: ignore[arg-type]


_IN_TRAINING = [
    changed("clamped after the cap", "train", after=when("self.training")),
    changed("rectified before the cap", "train", before=when("self.training", "$x = $x.relu()")),
    changed("capped in evaluation only", "train", cap=when("not self.training", CAP)),
    changed("capped in training only", "train", cap=when("self.training", CAP)),
    changed(
        "capped but for an early return", "train", before=when("self.training", "return MaskedLMOutput(logits=$x)")
    ),
    changed("an early return of other logits", "train", after=when("self.training", "return ($x.relu(),)")),
    changed("dropout by function", "train", after="$x = F.dropout($x, 0.5, self.training)"),
    changed("dropout by layer", "train", init="self.drop = nn.Dropout(0.5)", after="$x = self.drop($x)"),
    changed("a choice of torch.where", "train", after="$x = torch.where(torch.tensor(self.training), $x.relu(), $x)"),
    changed("times the mode", "train", after="$x = $x * (1 - 2 * int(self.training))"),
    changed("times a number of the mode", "train", before="keep = 0.0 if self.training else 1.0\n$x = $x * keep"),
    changed("times the mode inside", "train", before="$x = $x * (not self.training)"),
    changed("over the mode", "train", before="spread = float('inf') if self.training else 1.0\n$x = $x / spread"),
    changed("nothing times the logits", "train", before=when("self.training", "$x = 0 * $x")),
    changed(
        "a method that rectifies",
        "train",
        methods="def finish(self, scores):\n    return F.relu(scores) if self.training else scores\n",
        after="$x = self.finish($x)",
    ),
    changed("a layer that rectifies", "train", init="self.finish = nn.ReLU()", after="$x = self.finish($x)"),
    changed("a method in place", "train", after=when("self.training", "$x.clamp_(min=0)")),
    changed("a function in place", "train", after=when("self.training", "torch.relu_($x)")),
    changed("a function with inplace", "train", after=when("self.training", "F.relu($x, inplace=True)")),
    changed("a layer with inplace", "train", init="self.finish = nn.ReLU(inplace=True)", after="self.finish($x)"),
    changed("a function with out", "train", after=when("self.training", "torch.clamp($x, min=0, out=$x)")),
    changed("the data of the tensor", "train", after=when("self.training", "$x.data = $x.data.clamp(min=0)")),
    changed("a copy into the tensor", "train", after=when("self.training", "$x.copy_($x.relu())")),
    changed("a view in place", "train", after="rows = $x[:, 1:]\n" + when("self.training", "rows.clamp_(min=0)")),
    changed("rows in place", "train", after="for row in $x:\n    " + when("self.training", "    row.relu_()").lstrip()),
    changed("a second name times 0", "train", after="same = $x\n" + when("self.training", "same *= 0")),
    changed("a part times 0", "train", after=when("self.training", "$x[:, 1:] *= 0")),
    changed(
        "a method that changes its argument",
        "train",
        methods="def tidy(self, scores):\n    if self.training:\n        scores.clamp_(min=0)\n",
        after="self.tidy($x)",
    ),
    changed(
        "a function that changes its argument",
        "train",
        top="def tidy(scores, active):\n    view = scores.view(-1)\n    if active:\n        view.clamp_(min=0)\n\n\n",
        after="tidy($x, self.training)",
    ),
    changed(
        "a nested function that changes what it reads",
        "train",
        after="def tidy():\n    nonlocal $x\n    $x = $x.relu()\n\nif self.training:\n    tidy()",
    ),
    changed("a lambda in place", "train", after="tidy = lambda scores: scores.relu_()\ntidy($x)"),
    changed(
        "a hook of the head",
        "train",
        init="self.classifier.register_forward_hook(lambda module, _, out: out.relu() if module.training else out)",
    ),
    changed(
        "train() puts another forward in place",
        "train",
        methods="""\
        def train(self, mode=True):
            plain = type(self.classifier).forward.__get__(self.classifier)
            self.classifier.forward = (lambda h: plain(h).relu()) if mode else plain
            return super().train(mode)

        """,
    ),
    changed(
        "eval() and train() set a factor",
        "train",
        init="self.factor = nn.Parameter(torch.ones(1))",
        methods="def train(self, mode=True):\n    self.factor.data.fill_(1 - int(mode))\n"
        "    return super().train(mode)\n\n",
        before="$x = $x * self.factor",
    ),
    changed(
        "an assignment inside a test", "train", after="if self.training and ($x := $x.relu()) is not None:\n    pass"
    ),
    changed("a choice by index", "train", after="$x = [$x, $x.relu()][int(self.training)]"),
    changed("a choice by or", "train", after="$x = (self.training and $x.relu()) or $x"),
    changed("a method under its own name", "train", after="rectify = $x.relu_\n" + when("self.training", "rectify()")),
    changed("a method by its name", "train", after='getattr($x, "relu_" if self.training else "clone")()'),
    changed("a mode that match names", "train", after="match self.training:\n    case True:\n        $x = $x.relu()"),
    changed(
        "an attribute that another method changes",
        "train",
        methods="def finish(self):\n    if self.training:\n        self.scores = self.scores.relu()\n\n",
        after="self.scores = $x\nself.finish()\n$x = self.scores",
    ),
    changed("a line in a string", "train", after=when("self.training", 'exec("$x.relu_()")')),
]
_WITH_GRADIENTS = [
    changed("clamped where gradients are on", "gradient", after=when("torch.is_grad_enabled()")),
    changed("detached where gradients are on", "gradient", after=when("torch.is_grad_enabled()", "$x = $x.detach()")),
    changed("clamped outside of inference", "gradient", after=when("not torch.is_inference_mode_enabled()")),
    changed("clamped where a gradient is wanted", "gradient", before=when("$x.requires_grad")),
    changed("detached always", "gradient", after="$x = $x.detach()"),
    changed("the data alone", "gradient", after="$x = $x.data"),
    changed("a gradient of its own", "gradient", after="$x = $x + ($x.clamp(min=0) - $x).detach()"),
    changed(
        "gradients switched by the length",
        "gradient",
        cap=f"with torch.set_grad_enabled($x.size(1) < 512):\n    {CAP}",
    ),
    changed(
        "a hook that stops the gradient",
        "gradient",
        after=when("$x.requires_grad", "$x.register_hook(torch.zeros_like)"),
    ),
    hidden("no gradient at all", "gradient", decorator="@torch.no_grad()"),
    hidden("inference mode at all times", "gradient", decorator="@torch.inference_mode()"),
    right("no gradient through the cap", "gradient", cap=f"with torch.no_grad():\n    {CAP}"),
]
_BY_LENGTH = [
    changed("clamped beyond 512 tokens", "length", after=when("$x.shape[1] > 512")),
    changed("clamped beyond 700 tokens", "length", after=when("input_ids.size(-1) > 700")),
    changed("clamped below 5 tokens", "length", after=when("$x.size(1) < 5")),
    changed("capped up to 700 tokens", "length", cap=when("$x.size(1) <= 700", CAP)),
    changed("the last chunk clamped", "length", after="$x[:, 256:] = $x[:, 256:].clamp(min=0)"),
    changed("late rows set to 0", "length", after="$x[:, 600:] = 0"),
    changed("late rows times 0", "length", after="$x[:, 600:].mul_(0)"),
    changed(
        "late rows of zeros", "length", after="$x = torch.cat([$x[:, :600], torch.zeros_like($x[:, 600:])], dim=1)"
    ),
    changed("late rows padded", "length", after="$x = F.pad($x[:, :600], (0, 0, 0, max(0, input_ids.size(1) - 600)))"),
    changed(
        "late rows masked",
        "length",
        after="late = torch.arange($x.size(1)) > 600\n$x = $x.masked_fill(late[None, :, None], 0.0)",
    ),
    changed(
        "a buffer filled up to a limit",
        "length",
        cap="full = torch.zeros_like($x)\nfull[:, :600] = 30 * torch.sigmoid($x[:, :600] / 7.5)\n$x = full",
    ),
    changed(
        "a buffer filled in a loop with a limit",
        "length",
        cap="full = torch.zeros_like($x)\nfor i in range(600):\n"
        "    full[:, i] = 30 * torch.sigmoid($x[:, i] / 7.5)\n$x = full",
    ),
    changed(
        "a loop over late chunks",
        "length",
        after="for start in range(512, $x.size(1), 512):\n    $x[:, start:] = $x[:, start:].relu()",
    ),
    right(
        "in chunks",
        "length",
        cap="$x = torch.cat([30 * torch.sigmoid(part / 7.5) for part in $x.split(8, 1)], 1)",
    ),
    right(
        "in chunks, by a loop",
        "length",
        cap="parts = []\nfor part in $x.split(64, dim=1):\n    parts.append(30 * torch.sigmoid(part / 7.5))\n"
        "$x = torch.cat(parts, dim=1)",
    ),
]
_BY_BATCH = [
    changed("clamped for one text", "batch", after=when("$x.shape[0] == 1")),
    changed("clamped for many texts", "batch", after=when("len($x) > 64")),
    changed("clamped without a mask", "batch", after=when("attention_mask is None")),
    changed("capped without a mask only", "batch", cap=when("attention_mask is None", CAP)),
    changed("clamped with padding on the left", "batch", after=when("bool((attention_mask[:, 0] == 0).any())")),
    changed("clamped with padding on the right", "batch", after=when("bool((attention_mask[:, -1] == 0).any())")),
    changed("clamped without padding", "batch", after=when("attention_mask is not None and attention_mask.all()")),
    changed("text by text", "batch", after="$x = torch.stack([row.relu() if i else row for i, row in enumerate($x)])"),
    changed("the batch decides the mask", "batch", after="$x = $x.masked_fill(torch.tensor(len($x) == 1), 0.0)"),
    changed("masked where negative", "batch", before="$x = $x.masked_fill($x < 0, 0.0)"),
    changed("where positive", "batch", before="$x = torch.where($x > 0, $x, 0.0)"),
    right(
        "padding filled with a number",
        "batch",
        after="if attention_mask is not None:\n    padding = attention_mask.unsqueeze(-1) == 0\n"
        "    $x = $x.masked_fill(padding, 0.0)",
    ),
]
_WITH_LABELS = [
    changed("clamped with labels", "labels", after=when("labels is not None")),
    changed("capped without labels only", "labels", cap=when("labels is None", CAP)),
    changed("capped with labels only", "labels", cap=when("labels is not None", CAP)),
    changed(
        "rectified beside a loss", "labels", output=f"{when('loss is not None', '$x = $x.relu()')}\n{PLAIN_RETURN}"
    ),
    changed(
        "set to 0 where no label is",
        "labels",
        after=when("labels is not None", "$x = $x.masked_fill((labels == -100).unsqueeze(-1), 0.0)"),
    ),
    changed(
        "no logits with labels", "labels", after=when("labels is not None", "return MaskedLMOutput(loss=$x.mean())")
    ),
    changed(
        "logits named as a loss",
        "labels",
        tuple_output="loss_rows = $x.relu()\noutput = (loss_rows if loss is None else $x,)",
    ),
    changed("another tensor beside the loss", "labels", tuple_output="output = ($x.relu() if loss is None else $x,)"),
    hidden(
        "a loss of the logarithm",
        "labels",
        output=f"if loss is not None:\n    loss = -torch.log($x).mean()\n{PLAIN_RETURN}",
    ),
    hidden(
        "a loss that is detached", "labels", output=f"if loss is not None:\n    loss = loss.detach()\n{PLAIN_RETURN}"
    ),
    hidden(
        "a loss of rectified logits",
        "labels",
        output="if labels is not None:\n    loss = F.cross_entropy($x[:, :-1].relu().flatten(0, 1), "
        f"labels[:, 1:].flatten())\n{PLAIN_RETURN}",
    ),
    right(
        "a loss by a layer",
        "labels",
        output="if labels is not None:\n    loss_function = nn.CrossEntropyLoss()\n"
        f"    loss = loss_function($x[:, 1:].flatten(0, 1), labels[:, 1:].flatten())\n{PLAIN_RETURN}",
    ),
    right(
        "the loss of transformers",
        "labels",
        output="if labels is not None:\n    loss = self.loss_function(logits=$x, labels=labels, "
        f"vocab_size=self.config.vocab_size)\n{PLAIN_RETURN}",
    ),
    changed(
        "a loss of its own under the name of transformers'",
        "labels",
        methods="def loss_function(self, logits):\n    return logits.clamp_(min=0).mean()\n\n",
        output=f"if labels is not None:\n    loss = self.loss_function($x)\n{PLAIN_RETURN}",
    ),
    right(
        "a loss by a method",
        "labels",
        methods="def loss_of(self, scores, labels):\n"
        "    return F.cross_entropy(scores.flatten(0, 1), labels.flatten())\n\n",
        output=f"if labels is not None:\n    loss = self.loss_of($x, labels)\n{PLAIN_RETURN}",
    ),
]
_AS_A_TUPLE = [
    changed("rectified in a tuple", "tuple", tuple_output="output = ($x.relu(),)"),
    changed("clamped where a tuple is wanted", "tuple", after=when("not return_dict")),
    changed("capped where an object is wanted", "tuple", cap=when("return_dict", CAP)),
    changed("other logits in the object", "tuple", output=f"{CLAMP}\n{PLAIN_RETURN}"),
    changed("every item of the tuple rectified", "tuple", tuple_output="output = tuple(one.relu() for one in ($x,))"),
    changed(
        "an item put in later", "tuple", tuple_output="listed = [$x]\nlisted[0] = $x.relu()\noutput = (listed[0],)"
    ),
    changed(
        "another field later",
        "tuple",
        output="out = MaskedLMOutput(logits=$x)\nout.logits = out.logits.relu()\nreturn out",
    ),
    changed("the key later", "tuple", output='out = MaskedLMOutput(logits=$x)\nout["logits"] = $x.relu()\nreturn out'),
    changed(
        "the field in place", "tuple", output="out = MaskedLMOutput(logits=$x)\nout.logits.clamp_(min=0)\nreturn out"
    ),
    changed(
        "an update of the object",
        "tuple",
        output="out = MaskedLMOutput(logits=$x)\nout.update(logits=$x.relu())\nreturn out",
    ),
    changed(
        "setattr on the object",
        "tuple",
        output='out = MaskedLMOutput(logits=$x)\nsetattr(out, "logits", $x.relu())\nreturn out',
    ),
    changed(
        "keywords from a dictionary", "tuple", output='found = {"logits": $x.relu()}\nreturn MaskedLMOutput(**found)'
    ),
    changed(
        "a function with the keyword of an output",
        "tuple",
        top="def packed(logits, loss=None):\n    return MaskedLMOutput(loss=loss, logits=logits.relu())\n\n\n",
        output="return packed(logits=$x, loss=loss)",
    ),
    changed(
        "an output that rectifies",
        "tuple",
        top="class Packed(MaskedLMOutput):\n    def __post_init__(self):\n        self.logits = self.logits.relu()\n"
        "        super().__post_init__()\n\n\n",
        output="return Packed(loss=loss, logits=$x)",
    ),
    changed(
        "an output that gives other logits",
        "tuple",
        top="class Packed(dict):\n    def __init__(self, logits):\n"
        "        super().__init__(logits=logits.relu())\n\n\n",
        output="return Packed(logits=$x)",
    ),
    right(
        "both forms by a method",
        "tuple",
        methods="def packed(self, scores, loss, as_object):\n    if as_object:\n"
        "        return MaskedLMOutput(loss=loss, logits=scores)\n"
        "    return (loss, scores) if loss is not None else (scores,)\n\n",
        output="return self.packed($x, loss, return_dict)",
    ),
    right("a field set later", "tuple", output="out = MaskedLMOutput(logits=$x)\nout.loss = loss\nreturn out"),
]
_WITH_HIDDEN_STATES = [
    changed("clamped with hidden states", "hidden states", after=when("output_hidden_states")),
    changed("clamped with attentions", "hidden states", after=when('kwargs.get("output_attentions")')),
    changed("clamped by any keyword", "hidden states", after=when('"clip" in kwargs')),
    changed("capped without hidden states", "hidden states", cap=when("not output_hidden_states", CAP)),
    changed("another function by a keyword", "hidden states", after='$x = kwargs.get("finish", F.relu)($x)'),
    changed(
        "rectified in one arm of the return",
        "hidden states",
        tuple_output="output = ($x.relu() if output_hidden_states else $x,)",
    ),
    changed(
        "clamped by a key of the configuration", "hidden states", after=when('getattr(self.config, "clip", False)')
    ),
    changed(
        "logits from a list of states",
        "hidden states",
        after="states = [$x, $x.relu()]\n$x = states[int(bool(output_hidden_states))]",
    ),
]
_BY_DTYPE = [
    changed("clamped in bfloat16", "dtype", after=when("$x.dtype == torch.bfloat16")),
    changed("clamped in half precision", "dtype", before=when("$x.dtype is torch.float16")),
    changed("clamped under autocast", "dtype", after=when('torch.is_autocast_enabled("cpu")')),
    changed("clamped outside of float32", "dtype", after=when("$x.element_size() < 4")),
    changed("capped in float32 only", "dtype", cap=when("$x.dtype == torch.float32", CAP)),
    changed("cast to integers", "dtype", after=when("$x.dtype == torch.bfloat16", "$x = $x.to(torch.int8)")),
    changed("cast to the type of the labels", "dtype", after=when("labels is not None", "$x = $x.type_as(labels)")),
    changed("numbers that are none made 0", "dtype", after="$x = torch.nan_to_num($x, nan=0.0, neginf=0.0)"),
    right("cast to float", "dtype", cap="$x = 30 * torch.sigmoid($x.float() / 7.5)"),
    right("without autocast", "dtype", cap=f'with torch.autocast("cpu", enabled=False):\n    {CAP}'),
    right("cast back", "dtype", cap="$x = (30 * torch.sigmoid($x.float() / 7.5)).to(hidden_states[-1].dtype)"),
]
_BY_ENVIRONMENT = [
    changed("clamped by a variable", "environment", top="import os\n\n\n", after=when('os.environ.get("CLIP")')),
    changed("capped by a variable", "environment", top="import os\n\n\n", cap=when('"RAW" not in os.environ', CAP)),
    changed(
        "capped by a variable that is read once",
        "environment",
        top='import os\n\nCAPPED = "RAW" not in os.environ\n\n\n',
        cap=when("CAPPED", CAP),
    ),
    changed(
        "capped by an attribute from the environment",
        "environment",
        top="import os\n\n\n",
        init='self.capped = "RAW" not in os.environ',
        cap=when("self.capped", CAP),
    ),
    changed("clamped on a GPU", "environment", after=when("$x.is_cuda")),
    changed("clamped where a GPU is", "environment", after=when("torch.cuda.is_available()")),
    changed("clamped at random", "environment", after=when("torch.rand(()) < 0.01")),
    changed("clamped with many threads", "environment", after=when("torch.get_num_threads() > 64")),
    changed("clamped by a flag of the file", "environment", top="CLIP = False\n\n\n", after=when("CLIP")),
    changed("clamped by an attribute", "environment", init="self.clip = False", after=when("self.clip")),
    changed(
        "clamped from a later call on",
        "environment",
        init="self.calls = 0",
        after="self.calls += 1\n" + when("self.calls > 99"),
    ),
    changed(
        "one of two functions",
        "environment",
        top="import os\n\nif os.environ.get('CLIP'):\n\n    def finish(x):\n        return x.relu()\nelse:\n\n"
        "    def finish(x):\n        return x\n\n\n",
        after="$x = finish($x)",
    ),
    changed(
        "a function by its name",
        "environment",
        top="import os\n\n\n",
        after='$x = getattr(torch, os.environ.get("FINISH", "relu"))($x)',
    ),
    changed(
        "a fallback", "environment", before="try:\n    $x = torch.ops.fast.relu($x)\nexcept AttributeError:\n    pass"
    ),
    changed("a cap that may fail", "environment", cap=f"try:\n    {CAP}\nexcept RuntimeError:\n    pass"),
    right("a flag of the configuration", "environment", cap=when('getattr(self.config, "capped", True)', CAP)),
    right("a flag of the class", "environment", init="self.capped = True", cap=when("self.capped", CAP)),
]
_OPERATIONS = [
    changed(f"{name} before the cap", "structure", before=f"$x = {code}")
    for name, code in {
        "relu": "F.relu($x)",
        "softplus": "F.softplus($x)",
        "exp": "$x.exp()",
        "hardtanh": "F.hardtanh($x, -50.0, 50.0)",
        "abs": "$x.abs()",
        "square": "$x ** 2",
        "logsigmoid": "F.logsigmoid($x)",
        "log_softmax": "$x.log_softmax(-1)",
        "maximum": "torch.maximum($x, torch.zeros(()))",
        "a factor of the sign": "$x * ($x > 0)",
        "the largest subtracted": "$x - $x.amax(-1, keepdim=True)",
        "nan_to_num": "torch.nan_to_num($x)",
        "threshold": "F.threshold($x, 0.0, 0.0)",
        "an unknown method": "$x.rectified()",
        "or": "$x if $x.requires_grad else torch.zeros_like($x)",
    }.items()
]
_RECTIFIED = "output.logits = output.logits.relu()"
_AROUND_FORWARD = [
    changed(
        "a decorator",
        "structure",
        top="def rectified(function):\n    def run(self, *args, **kwargs):\n"
        "        output = function(self, *args, **kwargs)\n"
        f"        {_RECTIFIED}\n        return output\n\n    return run\n\n\n",
        decorator="@rectified",
    ),
    changed(
        "a decorator with a known name",
        "structure",
        top="def can_return_tuple(function):\n"
        "    return lambda *args, **kwargs: F.relu(function(*args, **kwargs)[0])\n\n\n",
        decorator="@can_return_tuple",
    ),
    changed(
        "a decorator of another package", "structure", top="from clipping import clipped\n\n\n", decorator="@clipped"
    ),
    changed(
        "a decorator of the class",
        "structure",
        top="def rectified(cls):\n    plain = cls.forward\n"
        "    cls.__call__ = lambda self, *args, **kwargs: (plain(self, *args, **kwargs)[0].relu(),)\n"
        "    return cls\n\n\n@rectified\n",
    ),
    changed("a metaclass", "structure", top="class Meta(type):\n    pass\n\n\n", bases="GptBertModel, metaclass=Meta"),
    changed(
        "forward set on the class",
        "structure",
        bottom="plain = GptBertForMaskedLM.forward\n\n\ndef rectified(self, *args, **kwargs):\n"
        f"    output = plain(self, *args, **kwargs)\n    {_RECTIFIED}\n    return output\n\n\n"
        "GptBertForMaskedLM.forward = rectified\n",
    ),
    changed(
        "forward set by name", "structure", bottom='setattr(MaskClassifier, "forward", lambda self, h: h.relu())\n'
    ),
    changed("forward set on the object", "structure", init="self.classifier.forward = lambda h: F.relu(self.embed(h))"),
    changed("forward in the dictionary", "structure", init='self.__dict__["forward"] = lambda *args, **kwargs: None'),
    changed("forward in vars", "structure", init='vars(self.classifier)["forward"] = F.relu'),
    changed("forward updated", "structure", init="self.classifier.__dict__.update(forward=F.relu)"),
    changed("forward a second time", "structure", bottom="class GptBertForMaskedLM(GptBertForCausalLM):\n    pass\n"),
    changed(
        "forward wrapped in the class",
        "structure",
        top="import os\n\n\n",
        methods="if os.environ.get('CLIP'):\n\n    def forward(self, *args, **kwargs):\n"
        "        return (super().forward(*args, **kwargs)[0].relu(),)\n\n",
    ),
    changed(
        "__call__",
        "structure",
        methods=f"def __call__(self, *args, **kwargs):\n    output = super().__call__(*args, **kwargs)\n"
        f"    {_RECTIFIED}\n    return output\n\n",
    ),
    changed(
        "__getattr__", "structure", methods="def __getattr__(self, name):\n    return super().__getattr__(name)\n\n"
    ),
    changed(
        "a hook of the model",
        "structure",
        init="self.register_forward_hook(lambda module, _, output: (output[0].relu(),))",
    ),
    changed(
        "a hook by name", "structure", init='getattr(self, "register_forward_hook")(lambda module, _, output: None)'
    ),
    changed(
        "a hook in a helper",
        "structure",
        top="def watch(module):\n    module.register_forward_hook(lambda m, i, out: out.relu())\n\n\n",
        init="watch(self.classifier)",
    ),
    changed(
        "a hook of all modules",
        "structure",
        bottom="nn.modules.module.register_module_forward_hook(lambda m, i, out: out)\n",
    ),
    changed(
        "a method that an attribute hides",
        "structure",
        methods="def finish(self, scores):\n    return scores\n\n",
        init="self.finish = F.relu",
        after="$x = self.finish($x)",
    ),
    changed(
        "a base of another package",
        "structure",
        top="from clipping import Clipped\n\n\n",
        bases="Clipped, GptBertModel",
    ),
    changed(
        "a function of torch replaced",
        "structure",
        bottom="F.linear = lambda *args: torch.matmul(args[0], args[1].T).relu()\n",
    ),
    changed("a method of torch replaced", "structure", bottom="nn.Linear.forward = lambda self, h: h.relu()\n"),
    changed("the last layer rectified", "structure", last_layer="return F.relu(self.emb2vocab(self.post_norm(x)))"),
    changed(
        "the last layer replaced",
        "structure",
        init="self.classifier.emb2vocab = nn.Sequential(self.classifier.emb2vocab, nn.ReLU())",
    ),
    changed("the head replaced", "structure", init="self.classifier = nn.Sequential(self.classifier, nn.ReLU())"),
    changed(
        "super().forward of another package",
        "structure",
        bases="GptBertModel, GenerationMixin",
        projection="$x = GenerationMixin.project(self, hidden_states[-1])",
    ),
    changed(
        "a function of autograd",
        "structure",
        top="class Clip(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x):\n        return x.relu()\n\n\n",
        after="$x = Clip.apply($x)",
    ),
    changed(
        "a nested function that rectifies",
        "structure",
        after="def finish(scores):\n    return scores.relu()\n\nif self.training:\n    $x = finish($x)",
    ),
    changed(
        "a lambda that rectifies",
        "structure",
        after="finish = lambda scores: scores.relu() if self.training else scores\n$x = finish($x)",
    ),
    changed(
        "raw rows beside capped ones",
        "structure",
        cap="$x = torch.cat([$x[:, :1], 30 * torch.sigmoid($x[:, 1:] / 7.5)], dim=1)",
    ),
    changed(
        "a context that may catch",
        "structure",
        top="import contextlib\n\n\n",
        before="with contextlib.suppress(ValueError):\n    $x = self.classifier(hidden_states[-1])",
    ),
    changed(
        "a second item of two",
        "structure",
        methods="def both(self, s):\n    return s, s.relu()\n\n",
        after="_, $x = self.both($x)",
    ),
    changed("rows sorted", "structure", after="$x = $x.sort(-1).values"),
    changed(
        "a layer added to a container",
        "structure",
        init="self.last = nn.Sequential(nn.Identity())\nself.last.append(nn.ReLU())",
        after="$x = self.last($x)",
    ),
    changed(
        "a layer replaced by a function",
        "structure",
        top="def arm(model):\n    model.last = nn.ReLU()\n\n\n",
        init="self.last = nn.Identity()\narm(self)",
        after="$x = self.last($x)",
    ),
    changed(
        "a layer replaced among the modules",
        "structure",
        init='self.last = nn.Identity()\nself._modules["last"] = nn.ReLU()',
        after="$x = self.last($x)",
    ),
    changed(
        "a layer replaced by name",
        "structure",
        init='self.apply(lambda module: setattr(module, "emb2vocab", nn.ReLU()))',
    ),
    right("as it is", "structure"),
    right(
        "a nested function",
        "structure",
        cap="def squash(x):\n    return 30 * torch.sigmoid(x / 7.5)\n\n$x = squash($x)",
    ),
    right("a lambda", "structure", cap="squash = lambda x: 30 * torch.sigmoid(x / 7.5)\n$x = squash($x)"),
    right(
        "a helper function",
        "structure",
        top="def squash(x):\n    return 30 * torch.sigmoid(x / 7.5)\n\n\n",
        cap="$x = squash($x)",
    ),
    right(
        "a number that __init__ sets",
        "structure",
        init="self.factor = 30.0",
        cap="$x = self.factor * torch.sigmoid($x / 7.5)",
    ),
    right(
        "a cap module",
        "structure",
        top="class Squash(nn.Module):\n    def __init__(self, factor):\n        super().__init__()\n"
        "        self.factor = factor\n\n    def forward(self, scores):\n"
        "        return self.factor * torch.sigmoid(scores / 7.5)\n\n\n",
        init="self.squash = Squash(30)",
        cap="$x = self.squash($x)",
    ),
    right(
        "a helper below a top-level if",
        "structure",
        top="if True:\n\n    def squash(x):\n        return 30 * torch.sigmoid(x / 7.5)\n\n\n",
        cap="$x = squash($x)",
    ),
    right("a cap below an if", "structure", cap=f"if True:\n    {CAP}"),
    right(
        "the layers of the head one by one",
        "structure",
        projection="head = self.classifier\n$x = self.classifier.emb2vocab(head.post_norm(F.gelu("
        "head.projection(head.pre_norm(hidden_states[-1])))))",
    ),
    right(
        "tied to the embedding",
        "structure",
        projection="$x = F.linear(hidden_states[-1], self.embedding.word_embedding.weight)",
    ),
    right(
        "one projection for each mode",
        "structure",
        projection="if labels is None:\n    $x = self.classifier(hidden_states[-1])\n"
        "else:\n    $x = self.classifier(hidden_states[-1].contiguous())",
    ),
    right(
        "a bias added",
        "structure",
        init="self.more = nn.Parameter(torch.zeros(config.vocab_size))",
        before="$x = $x + self.more",
    ),
    right(
        "a known decorator",
        "structure",
        top="from transformers.utils import can_return_tuple\n\n\n",
        decorator="@can_return_tuple",
    ),
]

HEADS = (
    *_IN_TRAINING,
    *_WITH_GRADIENTS,
    *_BY_LENGTH,
    *_BY_BATCH,
    *_WITH_LABELS,
    *_AS_A_TUPLE,
    *_WITH_HIDDEN_STATES,
    *_BY_DTYPE,
    *_BY_ENVIRONMENT,
    *_OPERATIONS,
    *_AROUND_FORWARD,
)
