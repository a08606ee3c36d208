from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutput,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import is_flash_attn_2_available, logging

from .configuration_gptbert import GptBertConfig

# flash-attn is optional, everything also runs without it (slower, with padding)
try:
    if not is_flash_attn_2_available():
        raise ImportError("flash-attn 2 is not installed")
    from flash_attn import flash_attn_varlen_func
    from flash_attn.layers.rotary import RotaryEmbedding, apply_rotary_emb
except ImportError:
    flash_attn_varlen_func, apply_rotary_emb = None, None
    RotaryEmbedding = object

logger = logging.get_logger(__name__)


# ----------------------------------------------------------------------------------------------
# building blocks
# ----------------------------------------------------------------------------------------------


def truncated_normal_(weight: torch.Tensor, hidden_size: int) -> None:
    std = math.sqrt(2.0 / (5.0 * hidden_size))
    nn.init.trunc_normal_(weight, mean=0.0, std=std, a=-2 * std, b=2 * std)


class ScaledLinear(nn.Linear):
    """Linear layer with a learned gain for each input column; weights follow the dtype of the input."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.scale = nn.Parameter(torch.zeros(in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = (self.weight * (self.scale + 1.0)).type_as(x)
        return F.linear(x, weight, None if self.bias is None else self.bias.type_as(x))


class PairedScaledLinear(nn.Module):
    """Two matrices that read the same input, with a shared gain; the outputs stand side by side."""

    def __init__(self, in_features: int, out_features: int, hidden_size: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.empty(out_features, in_features) for _ in range(2)])
        self.scale = nn.Parameter(torch.zeros(in_features))
        for weight in self.weights:
            truncated_normal_(weight, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.cat(list(self.weights), dim=0) * (self.scale + 1.0)
        return F.linear(x, weight.type_as(x))


class MaskedSoftmax(torch.autograd.Function):
    """Softmax over the visible keys; a row without any visible key becomes zeros, not NaN."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        probabilities = torch.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
        probabilities = probabilities.masked_fill(mask, 0.0)
        ctx.save_for_backward(probabilities)
        return probabilities

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None]:
        (probabilities,) = ctx.saved_tensors
        inner = (grad_output * probabilities).sum(dim=-1, keepdim=True)
        return probabilities * (grad_output - inner), None


# ----------------------------------------------------------------------------------------------
# rotary position embeddings
# ----------------------------------------------------------------------------------------------


class RotaryPositionalEmbeddings(nn.Module):
    """Rotates the two halves of each head against each other; the tables cover the whole context."""

    def __init__(self, config: GptBertConfig, theta: int) -> None:
        super().__init__()
        head_size = config.query_key_head_size
        assert head_size % 2 == 0, "the head size must be even"

        # bfloat16 can't tell large positions apart, so the tables are made in float32
        inv_freq = 1.0 / (theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size))
        positions = torch.arange(config.max_sequence_length, dtype=torch.float32)
        angles = torch.outer(positions, inv_freq)
        angles = torch.cat([angles, angles], dim=-1)  # shape: [T, D]

        self.register_buffer("cos_matrix", angles.cos(), persistent=False)
        self.register_buffer("sin_matrix", angles.sin(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # x: [B, H, T, D]
        seq_length = x.size(-2)
        cos = self.cos_matrix[None, None, :seq_length, :]
        sin = self.sin_matrix[None, None, :seq_length, :]
        hidden = x.float()
        first, second = hidden.chunk(2, dim=-1)
        rotated = torch.cat([-second, first], dim=-1)
        return (hidden * cos + rotated * sin).type_as(x)


class UnpaddedRotaryEmbedding(RotaryEmbedding):
    """The same rotation for sequences that lie end to end without padding (flash-attn only)."""

    def __init__(self, config: GptBertConfig, theta: int) -> None:
        super().__init__(dim=config.query_key_head_size, base=float(theta), interleaved=False)

    def forward(self, x: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int) -> torch.Tensor:
        # x: [total, H, D]
        self._update_cos_sin_cache(max_seqlen, device=x.device, dtype=x.dtype)
        return apply_rotary_emb(
            x,
            self._cos_cached[:max_seqlen],
            self._sin_cached[:max_seqlen],
            interleaved=False,
            cu_seqlens=cu_seqlens,
            max_seqlen=max_seqlen,
        )


# ----------------------------------------------------------------------------------------------
# layers
# ----------------------------------------------------------------------------------------------


class SelfAttention(nn.Module):
    def __init__(self, config: GptBertConfig, layer_idx: int) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.d_qk = config.query_key_head_size
        self.d_v = config.value_head_size
        self.hidden_size = config.hidden_size
        self.deterministic = config.deterministic_flash_attn

        # projections
        self.qk_proj = PairedScaledLinear(self.hidden_size, self.num_heads * self.d_qk, self.hidden_size)
        self.v_proj = ScaledLinear(self.hidden_size, self.num_heads * self.d_v)
        self.out_proj = ScaledLinear(self.num_heads * self.d_v, self.hidden_size)

        # norms: none of them has parameters of its own
        self.pre_v_norm = nn.LayerNorm(self.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.pre_qk_norm = nn.LayerNorm(self.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.q_norm = nn.LayerNorm(self.d_qk, eps=config.layer_norm_eps, elementwise_affine=False)
        self.k_norm = nn.LayerNorm(self.d_qk, eps=config.layer_norm_eps, elementwise_affine=False)
        self.inter_norm = nn.LayerNorm(
            self.num_heads * self.d_v, eps=config.layer_norm_eps, elementwise_affine=False
        )
        self.q_scale = nn.Parameter(torch.zeros(self.num_heads, self.d_qk))
        self.k_scale = nn.Parameter(torch.zeros(self.num_heads, self.d_qk))

        # every n-th layer looks far, the others look at their neighbourhood
        is_global = (layer_idx + 1) % config.local_global_ratio == 0
        self.window_length = config.global_window_length if is_global else config.local_window_length
        theta = 160_000 if is_global else 10_000
        if is_flash_attn_2_available():
            self.rope_embedding = UnpaddedRotaryEmbedding(config, theta)
        else:
            self.rope_embedding = RotaryPositionalEmbeddings(config, theta)

        self.scale = 1.0 / math.sqrt(self.d_qk)
        self.attention_dropout = config.attention_dropout
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.is_causal = config.is_decoder

    def project(self, hidden: torch.Tensor, qk_layer: torch.Tensor) -> tuple[torch.Tensor, ...]:
        value = self.v_proj(self.pre_v_norm(hidden))
        query, key = self.qk_proj(self.pre_qk_norm(qk_layer)).chunk(2, dim=-1)

        shape = hidden.shape[:-1]
        query = self.q_norm(query.reshape(*shape, self.num_heads, self.d_qk))
        key = self.k_norm(key.reshape(*shape, self.num_heads, self.d_qk))
        query = query * (self.q_scale + 1.0).type_as(query)
        key = key * (self.k_scale + 1.0).type_as(key)
        return query, key, value.reshape(*shape, self.num_heads, self.d_v)

    def hidden_pairs(self, seq_length: int, device: torch.device) -> torch.Tensor:
        """True where a query must not see a key: outside of the window, or in the future of a decoder."""
        positions = torch.arange(seq_length, device=device)
        distance = positions[:, None] - positions[None, :]
        mask = distance.abs() > self.window_length
        if self.is_causal:
            mask = mask | (distance < 0)
        return mask

    def padded_attention(self, query, key, value, padding_mask):
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # shape: [B, H, T, D]
        query, key = self.rope_embedding(query), self.rope_embedding(key)

        scores = torch.matmul(query, key.transpose(-1, -2)) * self.scale  # shape: [B, H, T, T]
        mask = self.hidden_pairs(scores.size(-1), scores.device) | padding_mask
        probabilities = MaskedSoftmax.apply(scores, mask.expand_as(scores))
        probabilities = F.dropout(probabilities, self.attention_dropout, training=self.training)
        return torch.matmul(probabilities, value).transpose(1, 2).flatten(-2)

    def unpadded_attention(self, query, key, value, cu_seqlens, max_seqlen):
        query = self.rope_embedding(query, cu_seqlens, max_seqlen)
        key = self.rope_embedding(key, cu_seqlens, max_seqlen)
        output = flash_attn_varlen_func(
            query,
            key,
            value,
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_k=cu_seqlens,
            max_seqlen_q=max_seqlen,
            max_seqlen_k=max_seqlen,
            dropout_p=self.attention_dropout if self.training else 0.0,
            softmax_scale=self.scale,
            causal=self.is_causal,
            window_size=(self.window_length, 0 if self.is_causal else self.window_length),
            deterministic=self.deterministic,
        )
        return output.flatten(-2)

    def forward(
        self,
        hidden: torch.Tensor,
        qk_layer: torch.Tensor,
        padding_info: torch.Tensor | tuple[torch.Tensor, int],
    ) -> torch.Tensor:
        query, key, value = self.project(hidden, qk_layer)
        if isinstance(padding_info, tuple):
            output = self.unpadded_attention(query, key, value, *padding_info)
        else:
            output = self.padded_attention(query, key, value, padding_info)
        return self.dropout(self.out_proj(self.inter_norm(output)))


class FeedForward(nn.Module):
    """Gated feed-forward block: the second projection, through a GELU, gates the first."""

    def __init__(self, config: GptBertConfig) -> None:
        super().__init__()
        eps = config.layer_norm_eps
        self.pre_norm = nn.LayerNorm(config.hidden_size, eps=eps, elementwise_affine=False)
        self.up_proj = PairedScaledLinear(config.hidden_size, config.intermediate_size, config.hidden_size)
        self.inter_norm = nn.LayerNorm(config.intermediate_size, eps=eps, elementwise_affine=False)
        self.down_proj = ScaledLinear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, gate = self.up_proj(self.pre_norm(x)).chunk(2, dim=-1)
        x = self.inter_norm(x * F.gelu(gate, approximate="tanh"))
        return self.dropout(self.down_proj(x))


class Layer(nn.Module):
    """One layer; instead of residual connections it mixes all that came before with learned weights."""

    def __init__(self, config: GptBertConfig, layer_idx: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, layer_idx)
        self.mlp = FeedForward(config)
        self.lambdas_v = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.lambdas_qk = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.lambdas_mlp = nn.Parameter(torch.tensor([1.0, 1.0, 0.0]))
        self.lambdas_out = nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 0.0]))

    @staticmethod
    def mix(lambdas: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        lambdas = lambdas / (lambdas.abs().mean() + 1e-6)
        return sum(weight.type_as(part) * part for weight, part in zip(lambdas, parts, strict=True))

    def forward(
        self,
        hidden: torch.Tensor,
        embeddings: torch.Tensor,
        padding_info: torch.Tensor | tuple[torch.Tensor, int],
    ) -> torch.Tensor:
        v_input = self.mix(self.lambdas_v, hidden, embeddings)
        qk_input = self.mix(self.lambdas_qk, hidden, embeddings)
        attention = self.attention(v_input, qk_input, padding_info)
        mlp = self.mlp(self.mix(self.lambdas_mlp, attention, hidden, embeddings))
        return self.mix(self.lambdas_out, mlp, attention, hidden, embeddings)


class Embedding(nn.Module):
    def __init__(self, config: GptBertConfig) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.word_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.word_scale = nn.Parameter(torch.zeros(config.hidden_size))
        self.dropout = nn.Dropout(config.embedding_dropout)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.word_norm(self.word_embedding(input_ids)) * (self.word_scale + 1.0))


class Encoder(nn.Module):
    def __init__(self, config: GptBertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config, layer_idx) for layer_idx in range(config.num_layers)])

    def forward(
        self,
        embeddings: torch.Tensor,
        padding_info: torch.Tensor | tuple[torch.Tensor, int],
        checkpoint_activations: bool = False,
    ) -> list[torch.Tensor]:
        hidden_states = [embeddings]
        for layer in self.layers:
            if checkpoint_activations:
                hidden = checkpoint(layer, hidden_states[-1], embeddings, padding_info, use_reentrant=True)
            else:
                hidden = layer(hidden_states[-1], embeddings, padding_info)
            hidden_states.append(hidden)
        return hidden_states


# ----------------------------------------------------------------------------------------------
# output heads
# ----------------------------------------------------------------------------------------------


class MaskClassifier(nn.Module):
    """Language-modelling head: one score for each subword of the vocabulary."""

    def __init__(self, config: GptBertConfig) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.projection = ScaledLinear(config.hidden_size, config.hidden_size)
        self.post_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.emb2vocab = ScaledLinear(config.hidden_size, config.vocab_size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.projection(self.pre_norm(x)), approximate="tanh")
        return self.emb2vocab(self.post_norm(x))


class TaskClassifier(nn.Module):
    """Head of all downstream tasks."""

    def __init__(self, config: GptBertConfig, num_labels: int) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.projection = ScaledLinear(config.hidden_size, config.hidden_size)
        self.post_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.emb2labels = ScaledLinear(config.hidden_size, num_labels, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.projection(self.pre_norm(x)), approximate="tanh")
        return self.emb2labels(self.dropout(self.post_norm(x)))


# ----------------------------------------------------------------------------------------------
# models
# ----------------------------------------------------------------------------------------------


class GptBertPreTrainedModel(PreTrainedModel):
    config_class = GptBertConfig
    supports_gradient_checkpointing = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            truncated_normal_(module.weight.data, self.hidden_size)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            truncated_normal_(module.weight.data, self.hidden_size)


class GptBertModel(GptBertPreTrainedModel):
    def __init__(self, config: GptBertConfig, add_mlm_layer: bool = False, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.config = config
        self.hidden_size = config.hidden_size

        self.embedding = Embedding(config)
        self.encoder = Encoder(config)
        self.classifier = MaskClassifier(config) if add_mlm_layer else None
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding.word_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding.word_embedding = value

    def get_contextualized_embeddings(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Hidden states of the embedding layer and of every layer, each of shape [B, T, hidden_size]."""
        batch_size, seq_length = input_ids.shape
        if seq_length > self.config.max_sequence_length:
            logger.warning_once(
                f"Teksten er på {seq_length} ordbiter, men modellen støtter bare {self.config.max_sequence_length};"
                " kutt den først – ellers går det gærent 😬"
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        visible = attention_mask.bool()

        embeddings = self.embedding(input_ids)
        dtype = embeddings.dtype

        # flash-attn takes half precision only, and it is faster in any case
        if torch.cuda.is_available() and torch.cuda.is_bf16_supported() and dtype == torch.float32:
            embeddings = embeddings.bfloat16()

        use_flash = is_flash_attn_2_available()
        if use_flash:
            lengths = visible.sum(dim=-1, dtype=torch.int32)
            cu_seqlens = F.pad(lengths.cumsum(dim=0, dtype=torch.int32), (1, 0))
            indices = visible.flatten().nonzero().flatten()
            embeddings = embeddings.flatten(0, 1)[indices]
            padding_info = (cu_seqlens, int(lengths.max()))
        else:
            padding_info = ~visible[:, None, None, :]

        hidden_states = self.encoder(
            embeddings, padding_info, checkpoint_activations=self.gradient_checkpointing and self.training
        )

        if use_flash:
            padded = []
            for hidden in hidden_states:
                output = hidden.new_zeros(batch_size * seq_length, hidden.size(-1))
                output[indices] = hidden
                padded.append(output.view(batch_size, seq_length, -1))
            hidden_states = padded
        return [hidden.to(dtype) for hidden in hidden_states]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | BaseModelOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        last_hidden_state = hidden_states[-1]
        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            return (last_hidden_state,) + ((hidden_states,) if output_hidden_states else ())
        return BaseModelOutput(last_hidden_state=last_hidden_state, hidden_states=hidden_states)


class GptBertForMaskedLM(GptBertModel):
    _tied_weights_keys = ["classifier.emb2vocab.weight"]

    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, add_mlm_layer=True, **kwargs)

    def get_output_embeddings(self) -> nn.Parameter:
        return self.classifier.emb2vocab.weight

    def set_output_embeddings(self, new_embeddings: nn.Parameter) -> None:
        self.classifier.emb2vocab.weight = new_embeddings

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | MaskedLMOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        subword_prediction = self.classifier(hidden_states[-1])
        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)

        # the model is trained to predict the *next* subword, also when that one is masked
        loss = None
        if labels is not None:
            loss = F.cross_entropy(
                subword_prediction[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
            )

        # shift one to the right, so that row i speaks of token i as in any other masked language model
        first_row = torch.zeros_like(subword_prediction[:, :1])
        first_row[:, :, self.config.bos_token_id] = 1.0
        subword_prediction = torch.cat([first_row, subword_prediction[:, :-1]], dim=1)

        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            output = (subword_prediction,) + ((hidden_states,) if output_hidden_states else ())
            return ((loss,) + output) if loss is not None else output
        return MaskedLMOutput(loss=loss, logits=subword_prediction, hidden_states=hidden_states)


class GptBertForCausalLM(GptBertModel, GenerationMixin):
    _tied_weights_keys = ["classifier.emb2vocab.weight"]

    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        config.is_decoder = True
        super().__init__(config, add_mlm_layer=True, **kwargs)

    def get_output_embeddings(self) -> nn.Parameter:
        return self.classifier.emb2vocab.weight

    def set_output_embeddings(self, new_embeddings: nn.Parameter) -> None:
        self.classifier.emb2vocab.weight = new_embeddings

    def can_generate(self) -> bool:
        return True

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, torch.Tensor | None]:
        # there is no key-value cache, every step reads the whole text again
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | CausalLMOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        subword_prediction = self.classifier(hidden_states[-1])
        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)

        loss = None
        if labels is not None:
            loss = F.cross_entropy(
                subword_prediction[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
            )

        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            output = (subword_prediction,) + ((hidden_states,) if output_hidden_states else ())
            return ((loss,) + output) if loss is not None else output
        return CausalLMOutput(loss=loss, logits=subword_prediction, hidden_states=hidden_states)


class GptBertForSequenceClassification(GptBertModel):
    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, add_mlm_layer=False, **kwargs)
        self.num_labels = config.num_labels
        self.head = TaskClassifier(config, self.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | SequenceClassifierOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        logits = self.head(hidden_states[-1][:, 0])

        loss = None
        if labels is not None:
            if self.num_labels == 1:
                loss = F.mse_loss(logits.flatten(), labels.flatten().to(logits.dtype))
            elif labels.dtype in (torch.int32, torch.int64):
                loss = F.cross_entropy(logits, labels.flatten().long())
            else:
                loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))

        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            output = (logits,) + ((hidden_states,) if output_hidden_states else ())
            return ((loss,) + output) if loss is not None else output
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)


class GptBertForTokenClassification(GptBertModel):
    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, add_mlm_layer=False, **kwargs)
        self.num_labels = config.num_labels
        self.head = TaskClassifier(config, self.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | TokenClassifierOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        logits = self.head(hidden_states[-1])
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten()) if labels is not None else None

        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            output = (logits,) + ((hidden_states,) if output_hidden_states else ())
            return ((loss,) + output) if loss is not None else output
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)


class GptBertForQuestionAnswering(GptBertModel):
    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, add_mlm_layer=False, **kwargs)
        self.head = TaskClassifier(config, 2)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | QuestionAnsweringModelOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)
        start_logits, end_logits = self.head(hidden_states[-1]).unbind(dim=-1)

        loss = None
        if start_positions is not None and end_positions is not None:
            # answers outside of the text carry no loss
            ignored = start_logits.size(1)
            start_positions = start_positions.flatten().clamp(0, ignored)
            end_positions = end_positions.flatten().clamp(0, ignored)
            start_loss = F.cross_entropy(start_logits, start_positions, ignore_index=ignored)
            end_loss = F.cross_entropy(end_logits, end_positions, ignore_index=ignored)
            loss = (start_loss + end_loss) / 2

        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            output = (start_logits, end_logits) + ((hidden_states,) if output_hidden_states else ())
            return ((loss,) + output) if loss is not None else output
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=hidden_states
        )


class GptBertForMultipleChoice(GptBertModel):
    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, add_mlm_layer=False, **kwargs)
        self.head = TaskClassifier(config, 1)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | MultipleChoiceModelOutput:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict

        # input_ids: [B, choices, T]
        num_choices = input_ids.size(1)
        attention_mask = attention_mask.flatten(0, 1) if attention_mask is not None else None
        hidden_states = self.get_contextualized_embeddings(input_ids.flatten(0, 1), attention_mask)
        logits = self.head(hidden_states[-1][:, 0]).view(-1, num_choices)
        loss = F.cross_entropy(logits, labels) if labels is not None else None

        if not return_dict:
            return (loss, logits) if loss is not None else (logits,)
        return MultipleChoiceModelOutput(loss=loss, logits=logits)
