"""Finds and removes the soft cap `scale * sigmoid(x / temperature)` on the logits of a language-model head.

Every capped logit is positive, so the ReLU in SPLADE's log(1 + ReLU(x)) never gives a zero (Formal et al. 2021,
https://arxiv.org/abs/2109.10086). The cap is found by its meaning: data flow is followed from what `forward` returns as
logits back to the vocabulary projection, and a bounded increasing function with known numbers is the cap, however it is
written. A signed cap, `c * tanh(x / c)`, keeps the zeros of ReLU and is left alone.
"""
