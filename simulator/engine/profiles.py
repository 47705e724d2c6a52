"""Engine profiles: what one replica of a model on an accelerator can do, each number with its source.

The step time of continuous batching is linear in what the step holds:

    τ = a + b·P + c·R + d·K + e·A

P prefill tokens, R decoding sequences, K context tokens in the KV cache of the running requests at the start
of the step, and A = Σ((s + n)² − s²)/2 over the prompt chunks of the step (n tokens computed after s): the
attention of a long prompt, which adds up to len²/2 whatever the chunks. e (`attention_s`) is 0 where b was
fitted over whole prompts.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import isfinite
from typing import Any, Literal

from ruamel.yaml import YAML

from simulator.engine.records import BLOCK_TOKENS, MAX_SEQS

Evidence = Literal["MEASURED", "DERIVED", "PRIOR"]


class ProfileError(ValueError):
    """A profile that does not exist or cannot serve; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One replica of a model on an accelerator.

    Raises:
        ProfileError: a coefficient is negative or not finite, or the step budget cannot hold a token of every
        sequence.
    """

    name: str
    model: str
    accelerator: str
    accelerators_per_replica: int
    a_s: float
    """Seconds of every step, whatever it holds."""
    b_s: float
    """Seconds per prefill token."""
    c_s: float
    """Seconds per decoding sequence."""
    d_s: float
    """Seconds per context token in the KV cache."""
    attention_s: float = 0.0
    """Seconds per half squared context token of prefill."""
    max_num_seqs: int
    kv_tokens: int
    """KV capacity: num_gpu_blocks × block_size; what is no whole block is lost."""
    max_num_batched_tokens: int
    """Token budget of a step: the prefill chunk."""
    async_scheduling: bool = False
    """Whether a step is decided while the one before it computes (vLLM's default since 0.14): a request that comes to
    a busy engine then waits one step more."""
    evidence: Evidence = "PRIOR"
    source: str = ""

    def __post_init__(self) -> None:
        for field in ("a_s", "b_s", "c_s", "d_s", "attention_s"):
            value = getattr(self, field)
            if not isfinite(value) or value < 0:
                raise ProfileError(f"profile {self.name}: {field} is {value}; give seconds, 0 or more")
        if self.a_s + self.c_s <= 0 or self.a_s + self.b_s <= 0:
            raise ProfileError(f"profile {self.name}: a step would take no time; give a_s, or both b_s and c_s")
        if self.max_num_seqs < 1 or self.kv_tokens < BLOCK_TOKENS:
            raise ProfileError(
                f"profile {self.name}: max_num_seqs {self.max_num_seqs} and kv_tokens {self.kv_tokens} cannot hold one"
                f" request; give at least 1 and {BLOCK_TOKENS}"
            )
        if self.max_num_seqs > MAX_SEQS:
            raise ProfileError(f"profile {self.name}: max_num_seqs {self.max_num_seqs}; the simulator holds {MAX_SEQS}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ProfileError(
                f"profile {self.name}: max_num_batched_tokens {self.max_num_batched_tokens} is below max_num_seqs"
                f" {self.max_num_seqs}: a step must hold a token of every sequence; raise the first"
            )

    @property
    def kv_blocks(self) -> int:
        """Blocks of the paged KV cache."""
        return self.kv_tokens // BLOCK_TOKENS


def load_profile(name: str) -> EngineProfile:
    """A shipped profile by name, e.g. "h100/llama-3.1-8b".

    Raises:
        ProfileError: no such profile; the message lists those that exist.
    """
    entries = _shipped()
    if name not in entries:
        raise ProfileError(f'no engine profile "{name}"; shipped are: {", ".join(sorted(entries))}')
    return EngineProfile(name=name, **entries[name])


def profile_names() -> tuple[str, ...]:
    """The names of all shipped profiles, sorted."""
    return tuple(sorted(_shipped()))


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    text = resources.files("simulator").joinpath("data/profiles.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(text)
    return entries
