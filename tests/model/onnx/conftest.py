"""Random weights of the architecture, small, by coqui-tts' names, made without torch; bundles of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.model.onnx.write import Source, write_bundle
from xtts_rtc.types import Conditioning, Float32

LAYERS, DIM, HEADS, TEXT_IDS, TOKENS, WIDTH = 2, 64, 4, 40, 1026, 32


class Maker:
    """Draws weights; every name is made once."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.weights: dict[str, Float32] = {}

    def normal(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> None:
        self.weights[name] = (self.rng.standard_normal(shape) * scale + mean).astype(np.float32)

    def linear(self, name: str, *shape: int, has_bias: bool = True, bias: int | None = None) -> None:
        fan_in = int(np.prod(shape[1:]))
        self.normal(f"{name}.weight", *shape, scale=fan_in**-0.5)
        if has_bias:
            self.normal(f"{name}.bias", bias or shape[0], scale=0.1)

    def norm(self, name: str, size: int) -> None:
        self.normal(f"{name}.weight", size, scale=0.2, mean=1.0)
        self.normal(f"{name}.bias", size, scale=0.1)

    def batch_norm(self, name: str, size: int) -> None:
        self.norm(name, size)
        self.normal(f"{name}.running_mean", size, scale=0.1)
        self.weights[f"{name}.running_var"] = self.rng.uniform(0.5, 2, size).astype(np.float32)

    def weight_normed(self, name: str, *shape: int, bias: int) -> None:
        self.normal(f"{name}.parametrizations.weight.original0", shape[0], 1, 1, scale=0.2, mean=1.0)
        self.normal(f"{name}.parametrizations.weight.original1", *shape)
        self.normal(f"{name}.bias", bias, scale=0.1)


def gpt_weights(make: Maker) -> None:
    for layer in range(LAYERS):
        at = f"gpt.gpt.h.{layer}"
        for name, (rows, columns) in {
            "attn.c_attn": (DIM, 3 * DIM),
            "attn.c_proj": (DIM, DIM),
            "mlp.c_fc": (DIM, 4 * DIM),
            "mlp.c_proj": (4 * DIM, DIM),
        }.items():
            make.normal(f"{at}.{name}.weight", rows, columns, scale=rows**-0.5)
            make.normal(f"{at}.{name}.bias", columns, scale=0.1)
        make.norm(f"{at}.ln_1", DIM)
        make.norm(f"{at}.ln_2", DIM)
    make.norm("gpt.gpt.ln_f", DIM)
    make.norm("gpt.final_norm", DIM)
    make.linear("gpt.mel_head", TOKENS, DIM)
    for name, rows in (("text_embedding", TEXT_IDS), ("mel_embedding", TOKENS)):
        make.normal(f"gpt.{name}.weight", rows, DIM, scale=0.5)
    for name, rows in (("text_pos_embedding", 24), ("mel_pos_embedding", 36)):
        make.normal(f"gpt.{name}.emb.weight", rows, DIM, scale=0.1)


def conditioning_weights(make: Maker) -> None:
    make.linear("gpt.conditioning_encoder.init", DIM, 80, 1)
    for block in range(2):
        at = f"gpt.conditioning_encoder.attn.{block}"
        make.norm(f"{at}.norm", DIM)
        make.linear(f"{at}.qkv", 3 * DIM, DIM, 1)
        make.linear(f"{at}.proj_out", DIM, DIM, 1)
    at = "gpt.conditioning_perceiver"
    make.normal(f"{at}.latents", 32, DIM)
    for layer in range(2):
        for name, rows in (("to_q", 512), ("to_kv", 1024)):
            make.linear(f"{at}.layers.{layer}.0.{name}", rows, DIM, has_bias=False)
        make.linear(f"{at}.layers.{layer}.0.to_out", DIM, 512, has_bias=False)
        inner = int(DIM * 4 * 2 / 3)
        make.linear(f"{at}.layers.{layer}.1.0", 2 * inner, DIM)
        make.linear(f"{at}.layers.{layer}.1.2", DIM, inner)
    make.normal(f"{at}.norm.gamma", DIM, scale=0.2, mean=1.0)
    make.weights["mel_stats"] = make.rng.uniform(0.5, 2, 80).astype(np.float32)


def vocoder_weights(make: Maker) -> None:
    at = "hifigan_decoder.waveform_decoder"
    make.linear(f"{at}.conv_pre", WIDTH, DIM, 7)
    make.linear(f"{at}.cond_layer", WIDTH, 512, 1)
    for stage, kernel in enumerate((16, 16, 4, 4)):
        channels = WIDTH // 2 ** (stage + 1)
        make.weight_normed(f"{at}.ups.{stage}", 2 * channels, channels, kernel, bias=channels)
        make.linear(f"{at}.conds.{stage}", channels, 512, 1)
        for block, size in enumerate((3, 7, 11)):
            for part in ("convs1", "convs2"):
                for index in range(3):
                    name = f"{at}.resblocks.{3 * stage + block}.{part}.{index}"
                    make.weight_normed(name, channels, channels, size, bias=channels)
    make.linear(f"{at}.conv_post", 1, WIDTH // 16, 7, has_bias=False)


def speaker_weights(make: Maker) -> None:
    """One block a layer instead of 3, 4, 6, 3."""
    at = "hifigan_decoder.speaker_encoder"
    make.linear(f"{at}.conv1", 32, 1, 3, 3)
    make.batch_norm(f"{at}.bn1", 32)
    before = 32
    for layer, size in enumerate((32, 64, 128, 256), 1):
        block = f"{at}.layer{layer}.0"
        make.linear(f"{block}.conv1", size, before, 3, 3, has_bias=False)
        make.linear(f"{block}.conv2", size, size, 3, 3, has_bias=False)
        make.batch_norm(f"{block}.bn1", size)
        make.batch_norm(f"{block}.bn2", size)
        make.linear(f"{block}.se.fc.0", size // 8, size)
        make.linear(f"{block}.se.fc.2", size, size // 8)
        if size != before:
            make.linear(f"{block}.downsample.0", size, before, 1, 1, has_bias=False)
            make.batch_norm(f"{block}.downsample.1", size)
        before = size
    make.linear(f"{at}.attention.0", 128, 2048, 1)
    make.batch_norm(f"{at}.attention.2", 128)
    make.linear(f"{at}.attention.3", 2048, 128, 1)
    make.linear(f"{at}.fc", 512, 4096)


@pytest.fixture(scope="session")
def tiny_weights() -> dict[str, Float32]:
    make = Maker()
    for part in (gpt_weights, conditioning_weights, vocoder_weights, speaker_weights):
        part(make)
    return make.weights


@pytest.fixture(scope="session")
def tiny_source() -> Source:
    config = {"model": "xtts", "model_args": {"gpt_n_heads": HEADS}, "languages": ["en"], "temperature": 0.5}
    vocabulary = {"model": {"vocab": {"[STOP]": 0, "[START]": TEXT_IDS - 1}}}
    return Source(config=json.dumps(config), vocabulary=json.dumps(vocabulary), licence="none", name="tiny")


@pytest.fixture(scope="session")
def tiny_bundles(
    tmp_path_factory: pytest.TempPathFactory, tiny_weights: dict[str, Float32], tiny_source: Source
) -> dict[str, Path]:
    """A bundle for each operator, by its name."""
    folder = tmp_path_factory.mktemp("bundles")
    operators = ("fp32", "int8-static", "int8-row", "int8-tensor", "int8-block")
    for operator in operators:
        write_bundle(tiny_weights, tiny_source, folder / operator, precision=operator)
    return {operator: folder / operator for operator in operators}


@pytest.fixture(scope="session")
def voices() -> list[Conditioning]:
    """Made-up voices of the tiny model."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(3):
        latents = rng.standard_normal((32, DIM)).astype(np.float32)
        embedding = rng.standard_normal(512).astype(np.float32)
        made.append(Conditioning(f"voice{index}", latents, embedding / np.linalg.norm(embedding)))
    return made
