"""A second, naive implementation of one replica to compare the compiled engine with: every token, no shortcuts.

It follows vLLM's scheduler literally: the running list in order, each sequence allocating its blocks one after the
other, the last of the list preempted when none is free, then the waiting queue.
"""

from collections import deque
from dataclasses import dataclass, field

from simulator.profiles import EngineProfile
from simulator.records import BLOCK_TOKENS
from simulator.traces import Trace


@dataclass(slots=True)
class Sequence:
    """One request inside the naive engine."""

    arrival_s: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    decoding: bool = False
    blocks: list[int] = field(default_factory=list)
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
        self.future = deque(self.sequences)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.free = list(range(profile.kv_blocks))
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
        cached = sum(sequence.computed for sequence in self.running)
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
        # The cost counts the context of those that take part in the step.
        cached = sum(sequence.computed for sequence in self.running)
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.profile.max_num_seqs:
            sequence = self.waiting[0]
            if sequence.arrival_s > self.seen_s:
                break
            chunk = min(sequence.missing, budget)
            if not self._allocate(sequence, chunk):
                break
            self.running.append(self.waiting.popleft())
            plan.append((sequence, chunk))
            budget -= chunk
        self._commit(plan, cached)

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
            self.free += sequence.blocks

    def _allocate(self, sequence: Sequence, chunk: int) -> bool:
        needed = -(-(sequence.computed + chunk) // BLOCK_TOKENS) - len(sequence.blocks)
        if needed > len(self.free):
            return False
        for _ in range(needed):
            sequence.blocks.append(self.free.pop())
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.free += sequence.blocks
        sequence.blocks = []
        sequence.computed = 0
        sequence.decoding = False
        sequence.preemptions += 1
        self.waiting.appendleft(sequence)
