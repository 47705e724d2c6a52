"""A second, naive implementation of one replica to compare the compiled engine with: every token, no shortcuts.

It follows vLLM's scheduler literally: the running list in order, each sequence allocating its blocks one after the
other, the last of the list preempted when none is free, then the waiting queue. Its prefix cache is naive too: every
block of 16 tokens is an object, the queue of free blocks is a list, and blocks are taken one by one when needed.
"""

from collections import deque
from dataclasses import dataclass, field

from simulator.engine.profiles import EngineProfile
from simulator.engine.records import BLOCK_TOKENS
from simulator.traces import Trace

Key = tuple[int, ...]
"""A prefix block: its id behind the ids of all before it, and its length."""


@dataclass(slots=True, eq=False)
class Block:
    """One block of the KV cache. Blocks of one prefix block share their `part`."""

    part: "Part | None" = None


@dataclass(slots=True, eq=False)
class Part:
    """A prefix block that is known: its blocks and how many sequences use them."""

    key: Key
    blocks: list[Block]
    users: int = 1


class BlockPool:
    """All blocks of one replica: those free in the order in which they are taken, and the prefix blocks known."""

    def __init__(self, size: int) -> None:
        self.free = [Block() for _ in range(size)]
        self.known: dict[Key, Part] = {}

    def take(self) -> Block:
        """Take the block that has been free for longest; the prefix block it was part of is known no more."""
        block = self.free.pop(0)
        if block.part is not None:
            del self.known[block.part.key]
            for other in block.part.blocks:
                other.part = None
        return block

    def found(self, keys: list[Key]) -> list[Part]:
        """The longest run of known prefix blocks from the front."""
        parts: list[Part] = []
        for key in keys:
            if key not in self.known:
                break
            parts.append(self.known[key])
        return parts

    def use(self, part: Part) -> None:
        """Let one more sequence use a prefix block."""
        if part.users == 0:
            self.free = [block for block in self.free if block.part is not part]
        part.users += 1

    def share(self, key: Key, blocks: list[Block]) -> None:
        """Make a prefix block known."""
        assert key not in self.known
        part = Part(key, blocks)
        self.known[key] = part
        for block in blocks:
            block.part = part

    def give_back(self, blocks: list[Block]) -> None:
        """Free a sequence's blocks, the last first, those apart that others use."""
        for part in {id(block.part): block.part for block in blocks if block.part is not None}.values():
            part.users -= 1
        self.free += [block for block in reversed(blocks) if block.part is None or block.part.users == 0]


@dataclass(slots=True)
class Sequence:
    """One request inside the naive engine."""

    arrival_s: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    decoding: bool = False
    blocks: list[Block] = field(default_factory=list)
    parts: list[tuple[Key, int]] = field(default_factory=list)
    """Its prefix blocks, each with the number of blocks up to its end."""
    first_token_s: float = -1.0
    finish_s: float = -1.0
    preemptions: int = 0

    @property
    def missing(self) -> int:
        """Tokens known and not computed: 1 while decoding."""
        return self.prompt + self.generated - self.computed


class NaiveEngine:
    """Continuous batching, step by step."""

    def __init__(self, profile: EngineProfile, trace: Trace) -> None:
        self.profile = profile
        rows = zip(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True)
        self.sequences = [Sequence(float(t), int(p), int(o)) for t, p, o in rows]
        if trace.block_ids is not None:
            for index, sequence in enumerate(self.sequences):
                sequence.parts = parts_of(trace, index)
        self.queries = self.hits = 0
        self.future = deque(self.sequences)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.pool = BlockPool(profile.kv_blocks)
        self.now_s = 0.0
        self.seen_s = 0.0

    def run(self) -> list[Sequence]:
        """Serve every request of the trace."""
        while self.future or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.now_s = max(self.now_s, self.future[0].arrival_s)
            while self.future and self.future[0].arrival_s <= self.now_s:
                self.waiting.append(self.future.popleft())
            self._step()
        return self.sequences

    def _step(self) -> None:
        if not self.running or not self.profile.async_scheduling:
            self.seen_s = self.now_s
        plan: list[tuple[Sequence, int]] = []
        budget, preempted = self.profile.max_num_batched_tokens, False
        index = 0
        while index < len(self.running):
            sequence = self.running[index]
            chunk = min(sequence.missing, budget)
            while sequence in self.running and not self._allocate(sequence, chunk):
                preempted = True
                self._preempt(self.running.pop())
            if sequence in self.running:
                plan.append((sequence, chunk))
                budget -= chunk
                index += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.profile.max_num_seqs:
            sequence = self.waiting[0]
            if sequence.arrival_s > self.seen_s:
                break
            chunk = self._admit(sequence, budget)
            if chunk == 0:
                break
            self.running.append(self.waiting.popleft())
            plan.append((sequence, chunk))
            budget -= chunk
        # The cost counts the context of those that take part in the step, cached prefixes too.
        self._commit(plan, sum(sequence.computed for sequence in self.running))

    def _commit(self, plan: list[tuple[Sequence, int]], cached: int) -> None:
        p = self.profile
        step_s = p.a_s + p.d_s * cached
        for sequence, chunk in plan:
            # The last token of a prompt that is computed again may be alone in its chunk; it is prefill none the less.
            if sequence.decoding:
                step_s += p.c_s
            else:
                step_s += p.b_s * chunk
                step_s += p.attention_s * ((sequence.computed + chunk) ** 2 - sequence.computed**2) / 2
        self.seen_s = self.now_s
        self.now_s += step_s
        for sequence, chunk in plan:
            sequence.computed += chunk
            if sequence.missing == 0:
                self._emit(sequence)

    def _emit(self, sequence: Sequence) -> None:
        sequence.generated += 1
        sequence.decoding = True
        if sequence.generated == 1:
            sequence.first_token_s = self.now_s
        if sequence.generated == sequence.output:
            sequence.finish_s = self.now_s
            self.running.remove(sequence)
            self.pool.give_back(sequence.blocks)

    def _admit(self, sequence: Sequence, budget: int) -> int:
        """Give a waiting sequence what the cache holds of it and its first chunk; 0 if blocks do not suffice."""
        found = self.pool.found([key for key, _ in sequence.parts])
        held = [block for part in found for block in part.blocks]
        # The last token is computed, even where its block was found: nothing else would yield an output.
        known = sequence.prompt + sequence.generated
        saved = min(len(held), (known - 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        chunk = min(known - saved, budget)
        unused = sum(len(part.blocks) for part in found if part.users == 0)
        if blocks_of(saved + chunk) - len(held) > len(self.pool.free) - unused:
            return 0
        for part in found:
            self.pool.use(part)
        sequence.blocks, sequence.computed = held, saved
        if sequence.preemptions == 0:
            self.queries += sequence.prompt
            self.hits += saved
        assert self._allocate(sequence, chunk)
        return chunk

    def _allocate(self, sequence: Sequence, chunk: int) -> bool:
        needed = blocks_of(sequence.computed + chunk) - len(sequence.blocks)
        if needed > len(self.pool.free):
            return False
        for _ in range(needed):
            sequence.blocks.append(self.pool.take())
        begin = 0
        for key, end in sequence.parts:
            if sequence.blocks[begin].part is None and end * BLOCK_TOKENS <= sequence.computed + chunk:
                self.pool.share(key, sequence.blocks[begin:end])
            begin = end
            if begin >= len(sequence.blocks):
                break
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.pool.give_back(sequence.blocks)
        sequence.blocks = []
        sequence.computed = 0
        sequence.decoding = False
        sequence.preemptions += 1
        self.waiting.appendleft(sequence)


def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return -(-tokens // BLOCK_TOKENS)


def parts_of(trace: Trace, index: int) -> list[tuple[Key, int]]:
    """The prefix blocks of a request that hold a block at least, each with the number of blocks up to its end."""
    assert trace.block_ids is not None
    assert trace.block_offsets is not None
    ids = trace.block_ids[trace.block_offsets[index] : trace.block_offsets[index + 1]].tolist()
    tokens = int(trace.prompt_tokens[index])
    parts: list[tuple[Key, int]] = []
    end = 0
    for count in range(1, len(ids) + 1):
        upto = min(count * trace.block_tokens, tokens)
        if upto // BLOCK_TOKENS > end:
            end = upto // BLOCK_TOKENS
            parts.append(((*ids[:count], upto), end))
    return parts
