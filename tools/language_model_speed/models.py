"""Model folders of published shapes with random weights."""

import json
from pathlib import Path

BART = {
    "model_type": "bart",
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "init_std": 0.02,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}


def bart(width: int, layers: int, heads: int) -> dict:
    sides = {}
    for side in ("encoder", "decoder"):
        sides |= {
            f"{side}_layers": layers,
            f"{side}_attention_heads": heads,
            f"{side}_ffn_dim": 4 * width,
        }
    return BART | sides | {"d_model": width}


# As on the hub, without what only training or the tokenizer reads.
CONFIGS = {
    "bart-base": bart(768, 6, 12),
    "bart-large": bart(1024, 12, 16),
    "flan-t5-base": {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 12,
        "num_decoder_layers": 12,
        "num_heads": 12,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    },
}


def make(name: str, folder: Path, seed: int) -> None:
    """Writes the model folder, unless it is there."""
    if (folder / "model.safetensors").exists():
        return
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    config = dict(CONFIGS[name])
    config = AutoConfig.for_model(config.pop("model_type"), **config)
    model = AutoModelForSeq2SeqLM.from_config(config)
    if name == "flan-t5-base":
        # transformers 5 ties the output layer unless a file has another one, as those on the hub do.
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape))
    model.save_pretrained(folder)


def weights_size(folder: Path) -> int:
    """Bytes of the weights, in f32; tied ones count once."""
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return sum(end - start for start, end in (entry["data_offsets"] for entry in header.values()))
