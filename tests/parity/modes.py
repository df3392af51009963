"""The ways in which the engine is asked the same prompts; the answers must not depend on them."""

from concurrent.futures import ThreadPoolExecutor

from engine import EngineFailed

BLOCK_TOKENS = 32
LISTED = 5
# A step of so few tokens splits every prompt but the shortest, mostly not at a block's end.
CHUNK = 20
SEQUENCES = 8
# Longest sequence there; a larger cache would hold all short ones at once, and none would have to go.
TIGHT_MODEL_LEN = 352


def roomy(subject):
    """Flags of the engine that has room for all prompts at once."""
    return {"max_model_len": subject.max_model_len}


def tight(subject):
    """Flags of the engine whose cache holds one long sequence and whose steps are short."""
    max_model_len = min(subject.max_model_len, TIGHT_MODEL_LEN)
    return {
        "max_model_len": max_model_len,
        "max_num_batched_tokens": CHUNK,
        "max_num_seqs": SEQUENCES,
        "num_gpu_blocks_override": -(-max_model_len // BLOCK_TOKENS),
    }


def alone(engine, prompts, count):
    """Every prompt by itself, one after the other."""
    return [engine.complete(prompt, count, "alone")[0] for prompt in prompts]


def batched(engine, prompts, count):
    """All prompts at once, together with one request that lists the first ones."""
    with ThreadPoolExecutor(len(prompts) + 1) as pool:
        listed = pool.submit(engine.complete, prompts[:LISTED], count, "batched")
        single = list(pool.map(lambda prompt: engine.complete(prompt, count, "batched")[0], prompts))
    return single + listed.result()


def cached(engine, prompts, count):
    """Every prompt as it was asked alone before: its blocks are in the prefix cache."""
    answers = [engine.complete(prompt, count, "alone")[0] for prompt in prompts]
    for prompt, answer in zip(prompts, answers):
        if len(prompt) > BLOCK_TOKENS and not answer.cached:
            raise EngineFailed(f"a prompt of {len(prompt)} tokens, asked again, was not in the prefix cache")
    return answers


def chunked(engine, prompts, count):
    """Every prompt by itself, prefilled in several steps."""
    return [engine.complete(prompt, count, "chunked")[0] for prompt in prompts]


def preempted(engine, prompts, count):
    """More at once than the cache holds, so that sequences are thrown out and computed again. One request lists them all: of
    several, the first might be done before the last is there."""
    answers = engine.complete(prompts, count, "preempted")
    if not engine.metric("vllm:num_preemptions_total"):
        raise EngineFailed("nothing was preempted")
    return answers


# The flags of an engine, and what it is asked in this order.
ENGINES = {"roomy": (roomy, [alone, batched, cached]), "tight": (tight, [chunked, preempted])}
NAMES = [mode.__name__ for _, modes in ENGINES.values() for mode in modes]
