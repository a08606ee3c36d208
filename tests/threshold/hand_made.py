"""A HAND-MADE capped SPLADE model whose figures a long training would give; it was not trained for retrieval.

An activation below 0.05 under the cap needs a raw logit below about -48, which a regularizer reaches slowly. So the
weights of a miniature are set by hand here: the last layer passes the word embeddings on with a little context, each
row of the output matrix points to where its own token ends up, and the bias puts every other token far below -48. What
comes out is lexical matching with inverse document frequencies, adjusted on the bundled questions themselves: weights
of tokens are moved, and where question and answer share too little, a token of the answer also activates one of the
question. It shows that the checks pass where the values are what they should be, and says nothing of any model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from patcher.verify.texts import load_questions

CONTEXT = 0.05  # length of the context beside that of the embeddings: breaks the ties of pure word matching
STEEPNESS = 400.0  # raw logits between a token that stands in the text and one that has nothing to do with it
LOWEST, HIGHEST = -40.0, 10.0  # raw logits of the most frequent and of the rarest token of a text
MARGIN = 0.5  # by which a right document has to lead in word matching
ROUNDS, STEPS = 12, 40


@dataclass
class Words:
    """Which tokens each query (the first rows) and each passage activates, and the raw logit of a token there."""

    held: torch.Tensor
    queries: int
    right: torch.Tensor
    own: torch.Tensor
    activated_by: dict[int, list[int]] = field(default_factory=dict)

    def shortfall(self, own: torch.Tensor) -> torch.Tensor:
        """For each query and passage by how much the right passage lacks its margin; [queries, passages]."""
        activation = torch.log1p(30 * torch.sigmoid(own / 7.5))
        weighted = self.held * activation
        scores = weighted[: self.queries] @ weighted[self.queries :].T
        short = F.relu(MARGIN + scores - scores.gather(1, self.right[:, None]))
        return short * torch.ones_like(short).scatter(1, self.right[:, None], 0.0)

    def move_weights(self) -> torch.Tensor:
        """Move the weights of the tokens until every right passage leads, or for STEPS; says which don't lead."""
        own = torch.nn.Parameter(self.own.clone())
        optimizer = torch.optim.Adam([own], lr=0.5)
        for _ in range(STEPS):
            short = self.shortfall(own)
            if not short.any():
                break
            optimizer.zero_grad()
            short.sum().backward()
            optimizer.step()
        self.own = own.detach()
        return self.shortfall(self.own).any(1).nonzero().flatten()

    def expand(self, query: int) -> None:
        """Let the rarest token of the right passage activate the rarest token of the question that it lacks."""
        right = self.held[self.queries + self.right[query]]
        frequency = self.held.sum(0)
        lacking = torch.where((self.held[query] > 0) & (right == 0), frequency, math.inf)
        present = torch.where((right > 0) & (self.held[query] == 0), frequency, math.inf)
        if lacking.min() == math.inf:
            return
        wanted, trigger = int(lacking.argmin()), int(present.argmin())
        self.activated_by.setdefault(wanted, []).append(trigger)
        self.held[:, wanted] = torch.maximum(self.held[:, wanted], self.held[:, trigger])


def set_head_by_hand(model: Any) -> None:
    """Change the masked LM of a SparseEncoder over a capped miniature in place, as the first lines of this file say."""
    mlm, tokenizer = model[0].model, model.tokenizer
    ids, own, activated_by = _fit_words(tokenizer, mlm.config.vocab_size)
    with torch.no_grad():
        some = mlm.get_contextualized_embeddings(tokenizer(load_questions()[0].positive, return_tensors="pt").input_ids)
        lengths = [state.norm(dim=-1).mean() for state in some]
        mlm.encoder.layers[-1].lambdas_out.copy_(torch.tensor([0.0, 0.0, CONTEXT * lengths[0] / lengths[-2], 1.0]))

        head = mlm.classifier
        embedded = mlm.embedding(torch.arange(mlm.config.vocab_size)[:, None])[:, 0]
        states = head.post_norm(F.gelu(head.projection(head.pre_norm(embedded)), approximate="tanh"))
        directions = F.normalize(states - states.mean(0), dim=1)
        weight = directions / (directions * states).sum(1, keepdim=True) * STEEPNESS
        for wanted, triggers in activated_by.items():
            rows = torch.tensor([wanted, *triggers])
            equal = torch.linalg.lstsq(states[rows] @ directions[rows].T, torch.full((len(rows), 1), STEEPNESS))
            weight[wanted] = (directions[rows] * equal.solution).sum(0)
        bias = torch.full((mlm.config.vocab_size,), HIGHEST)
        bias[ids] = own
        head.emb2vocab.weight.copy_(weight / (1 + head.emb2vocab.scale))
        head.emb2vocab.bias.copy_(bias - STEEPNESS)


def _fit_words(tokenizer: Any, vocab_size: int) -> tuple[torch.Tensor, torch.Tensor, Mapping[int, list[int]]]:
    """The tokens of the bundled questions, the raw logit of each where it is active, and what else activates it."""
    questions = load_questions()
    passages = [text for question in questions for text in (question.positive, *question.negatives)]
    texts = [question.query for question in questions] + passages
    held = torch.zeros(len(texts), vocab_size)
    for row, text in enumerate(texts):
        # row i of the output speaks of what stands at i - 1, so the last token of a text is never seen
        held[row, tokenizer(text)["input_ids"][:-1]] = 1.0
    ids = held.any(0).nonzero().flatten()
    held = held[:, ids]
    rarity = torch.log((len(passages) + 1) / (held[len(questions) :].sum(0) + 0.5))
    words = Words(
        held=held,
        queries=len(questions),
        right=torch.tensor([passages.index(question.positive) for question in questions]),
        own=LOWEST + (HIGHEST - LOWEST) * rarity / rarity.max(),
    )
    for _ in range(ROUNDS):
        behind = words.move_weights()
        if not len(behind):
            break
        for query in behind.tolist():
            words.expand(query)
    named = {int(ids[wanted]): ids[triggers].tolist() for wanted, triggers in words.activated_by.items()}
    return ids, words.own, named


def build(capped: Path, target: Path) -> Path:
    """Save the hand-made model, from the capped SparseEncoder model in `capped`, whose code has to load right."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(capped), trust_remote_code=True, device="cpu")
    set_head_by_hand(model)
    model.save_pretrained(str(target), create_model_card=False)
    return target
