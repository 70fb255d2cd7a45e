"""The networks that are timed, in PyTorch: as many parameters, the same operations."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.models.resnet import BLOCKS, STAGES
from benchmarks.models.transformer import BYTES, ROTARY_BASE, SHAPES

EPSILON = 1e-6  # Flax's


class BasicBlock(nn.Module):
    """The block of `benchmarks.models.BasicBlock` in PyTorch."""

    def __init__(self, in_features: int, out_features: int, stride: int):
        super().__init__()
        self.conv1 = conv(in_features, out_features, 3, stride)
        self.norm1 = nn.BatchNorm2d(out_features)
        self.conv2 = conv(out_features, out_features, 3, 1)
        self.norm2 = nn.BatchNorm2d(out_features)
        self.shortcut = nn.Identity()
        if stride != 1 or in_features != out_features:
            self.shortcut = nn.Sequential(
                conv(in_features, out_features, 1, stride),
                nn.BatchNorm2d(out_features),
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.norm1(self.conv1(images)))
        hidden = self.norm2(self.conv2(hidden))
        return functional.relu(hidden + self.shortcut(images))


def conv(in_features: int, out_features: int, size: int, stride: int) -> nn.Module:
    side = size // 2
    return nn.Conv2d(in_features, out_features, size, stride, side, bias=False)


def resnet18(width: int) -> nn.Module:
    """Return a network from images (batch, channels, height, width) to 10 logits."""
    layers = [conv(3, width, 3, 1), nn.BatchNorm2d(width), nn.ReLU()]
    before = width
    for factor, stage_stride in STAGES:
        for number in range(BLOCKS):
            stride = stage_stride if number == 0 else 1
            layers.append(BasicBlock(before, factor * width, stride))
            before = factor * width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)]
    return nn.Sequential(*layers, *head)


class Block(nn.Module):
    """The block of `benchmarks.models.transformer.Block` in PyTorch."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width, EPSILON), nn.RMSNorm(width, EPSILON)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        n, positions, width = x.shape
        turned = self.queries_keys_values(self.norm1(x))
        q, k, v = turned.view(n, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            rotary(q, angles), rotary(k, angles), v, is_causal=True
        )
        x = x + self.attended(mixed.transpose(1, 2).reshape(n, positions, width))
        hidden = functional.gelu(self.hidden(self.norm2(x)), approximate="tanh")
        return x + self.out(hidden)


def rotary(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    turned = [first * cos - second * sin, first * sin + second * cos]
    return torch.cat(turned, dim=-1)


class Transformer(nn.Module):
    """The network of `benchmarks.models.transformer.Transformer` in PyTorch."""

    def __init__(self, name: str, positions: int):
        super().__init__()
        shape = SHAPES[name]
        self.scale = shape.width**0.5
        self.embedding = nn.Embedding(BYTES, shape.width)
        blocks = (Block(shape.width, shape.heads) for _ in range(shape.layers))
        self.blocks = nn.ModuleList(blocks)
        half = shape.width // shape.heads // 2
        frequencies = ROTARY_BASE ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(positions), frequencies)
        self.register_buffer("angles", torch.stack([angles.cos(), angles.sin()]))
        self.norm = nn.RMSNorm(shape.width, EPSILON)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = self.embedding(text) * self.scale
        for block in self.blocks:
            x = block(x, self.angles)
        return self.norm(x) @ self.embedding.weight.T
