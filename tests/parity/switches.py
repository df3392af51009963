"""Configurations with one switch changed: the engine must refuse each, or compute something else.

They keep the comparison honest. A setting that the engine ignores, or a model that does not depend on it, would
otherwise pass for parity.
"""

import copy
import json


def times(share):
    """Multiplies a number, or every number of a list."""
    return lambda value: [share * each for each in value] if isinstance(value, list) else value * share


def plus(more):
    """Adds to a number."""
    return lambda value: value + more


def flip(value):
    """The other of two."""
    return not value


def flips(values):
    """The other of two, for each."""
    return [1 - value for value in values]


# What is changed at the top level, and how. A sliding window is among these where the model has one.
CHANGES = {
    "rms_norm_eps": lambda _: 0.05,
    "hidden_act": lambda _: "gelu",
    "hidden_activation": lambda _: "silu",
    "attention_bias": flip,
    "mlp_bias": flip,
    "query_pre_attn_scalar": times(2),
    "attn_logit_softcapping": times(0.7),
    "final_logit_softcapping": times(0.7),
    "embedding_multiplier": times(1.5),
    "attention_multiplier": times(1.5),
    "residual_multiplier": times(1.5),
    "logits_scaling": times(1.5),
    "no_rope_layers": flips,
    "num_experts_per_tok": plus(-1),
    "norm_topk_prob": flip,
    "mlp_only_layers": lambda layers: [] if layers else [1],
    "decoder_sparse_step": plus(1),
    "original_max_position_embeddings": times(4),
    "rope_theta": times(2),
    "rope_local_base_freq": times(2),
    "partial_rotary_factor": times(0.5),
    "sliding_window_pattern": plus(-1),
}
WINDOW_CHANGES = {"sliding_window": plus(1), "use_sliding_window": flip, "max_window_layers": plus(-1)}
ROPE_CHANGES = {
    "rope_theta": times(2),
    "rope_type": lambda _: "default",
    "type": lambda _: "default",
    "factor": times(1.5),
    "low_freq_factor": times(1.5),
    "high_freq_factor": times(2),
    "original_max_position_embeddings": times(4),
    "beta_fast": times(0.5),
    "beta_slow": times(1.5),
    "mscale": times(2),
    "mscale_all_dim": times(2),
    "truncate": flip,
    "partial_rotary_factor": times(0.5),
}
def changed(case, config):
    """`(name, configuration)` for each switch of `config` that this model depends on."""
    for key, change in (CHANGES | (WINDOW_CHANGES if case.windowed else {})).items():
        if config.get(key) is not None and key not in case.inert:
            yield key, replaced(config, [key], change)
    kinds = config.get("layer_types") or []
    if len(set(kinds)) > 1:
        yield "layer_types", replaced(config, ["layer_types"], lambda kinds: [sorted(kinds)[0]] * len(kinds))
    for key in ("rope_parameters", "rope_scaling"):
        yield from changed_rope(case, config, key)


def changed_rope(case, config, key):
    """The same for the rotary parameters, of each layer type where there are several."""
    parameters = config.get(key) or {}
    nested = [name for name, value in parameters.items() if isinstance(value, dict)]
    for path in [[key, name] for name in nested] or [[key]]:
        part = parameters[path[1]] if nested else parameters
        for name, change in (ROPE_CHANGES | case.longrope_changes()).items():
            already = name in ("rope_type", "type") and part.get(name) == "default"
            overruled = name == "original_max_position_embeddings" and name in config
            if part.get(name) is not None and name not in case.inert and not already and not overruled:
                yield ".".join([*path, name]), replaced(config, [*path, name], change)


def replaced(config, path, change):
    """A copy of `config` with the value at `path` changed."""
    config = copy.deepcopy(config)
    part = config
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = change(part[path[-1]])
    return config


def write(config, model, folder):
    """The same weights with another configuration."""
    folder.mkdir(exist_ok=True)
    for file in model.iterdir():
        link = folder / file.name
        if file.name != "config.json" and not link.exists():
            link.symlink_to(file)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
