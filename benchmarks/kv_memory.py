"""How many tokens the KV cache of a replica holds: the accelerator's memory less all that else lies in it.

vLLM (``determine_available_memory`` of its GPU worker) takes a share u of the memory, measures what weights and one
profiling step with the largest batch need, and gives the rest to blocks of 16 tokens:

    tokens = (u·M − W/n − A − o) · n / k        u = 0.9

M memory of one accelerator as CUDA reports it, n accelerators of the replica, W bytes of the weights (2 a parameter in
BF16), k = 2·2·layers·KV heads·head size bytes of K and V of a token. A are the activations of the profiling step, with
T tokens and S sequences: the gate, up and product of the widest layer and two copies of the hidden state in BF16, and
the logits twice in float32,

    A = 2·T·(2·hidden + 3·intermediate/n) + 8·S·vocabulary

o is what is allocated outside of that (CUDA context, libraries, NCCL): 0.764 GB, the one number here that is fitted. It
makes the formula give what a real vLLM 0.19 reported for Llama-3.1-8B on an RTX 4090 (41,408 tokens; LLMServingSim's
published bench), and is taken to be the same elsewhere; at 80 GB a gigabyte of it is 2 % of the capacity. Several
accelerators hold a whole copy of the KV heads once n exceeds their number, which no shipped pair does.
"""

from dataclasses import dataclass

from simulator.engine.records import BLOCK_TOKENS

MEMORY_SHARE = 0.9
OUTSIDE_BYTES = 0.764e9
BYTES = 2
"""Of a BF16 number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The sizes of a model, from its published configuration."""

    parameters: float
    active_parameters: float
    """Those that compute one token: fewer than all in a mixture of experts."""
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    intermediate: int
    vocabulary: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of K and V of one token over all layers, in BF16."""
        return 2 * BYTES * self.layers * self.kv_heads * self.head_size


GEOMETRIES: dict[str, Geometry] = {
    "Llama-3.1-8B": Geometry(
        parameters=8.030e9,
        active_parameters=8.030e9,
        layers=32,
        heads=32,
        kv_heads=8,
        head_size=128,
        hidden=4096,
        intermediate=14336,
        vocabulary=128256,
    ),
    "Llama-3.1-70B": Geometry(
        parameters=70.554e9,
        active_parameters=70.554e9,
        layers=80,
        heads=64,
        kv_heads=8,
        head_size=128,
        hidden=8192,
        intermediate=28672,
        vocabulary=128256,
    ),
    "Qwen3-32B": Geometry(
        parameters=32.762e9,
        active_parameters=32.762e9,
        layers=64,
        heads=64,
        kv_heads=8,
        head_size=128,
        hidden=5120,
        intermediate=25600,
        vocabulary=151936,
    ),
    "Qwen3-30B-A3B": Geometry(
        parameters=30.532e9,
        active_parameters=3.345e9,
        layers=48,
        heads=32,
        kv_heads=4,
        head_size=128,
        hidden=2048,
        intermediate=6144,
        vocabulary=151936,
    ),
}


def geometry_of(model: str) -> Geometry:
    """The sizes of a model by its name, with or without the organisation, "Meta-" or "-Instruct".

    Raises:
        ValueError: the model is not in the table; the message lists those that are.
    """
    name = model.rsplit("/", maxsplit=1)[-1].removeprefix("Meta-").removesuffix("-Instruct")
    if name not in GEOMETRIES:
        raise ValueError(f"the sizes of {model} are not known; add it to GEOMETRIES ({', '.join(GEOMETRIES)})")
    return GEOMETRIES[name]


def kv_tokens(
    model: Geometry, *, memory_bytes: float, accelerators: int, max_num_batched_tokens: int, max_num_seqs: int
) -> int:
    """KV capacity of a replica in tokens, whole blocks, by the formula above.

    Args:
        model: its sizes.
        memory_bytes: memory of one accelerator, as CUDA reports it.
        accelerators: that one replica holds, all of them as tensor parallelism.
        max_num_batched_tokens: the engine's token budget of a step.
        max_num_seqs: the engine's limit of sequences.

    Raises:
        ValueError: the weights leave no room for a single block.
    """
    activations = BYTES * max_num_batched_tokens * (2 * model.hidden + 3 * model.intermediate / accelerators)
    activations += 8 * max_num_seqs * model.vocabulary
    weights = BYTES * model.parameters / accelerators
    left = MEMORY_SHARE * memory_bytes - weights - activations - OUTSIDE_BYTES
    blocks = int(left * accelerators / model.kv_bytes_per_token) // BLOCK_TOKENS
    if blocks < 1:
        raise ValueError(
            f"{accelerators} accelerators of {memory_bytes / 1e9:.0f} GB cannot hold weights of"
            f" {weights * accelerators / 1e9:.0f} GB; give the replica more accelerators"
        )
    return blocks * BLOCK_TOKENS
