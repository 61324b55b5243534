"""Time x-clip's training step in PyTorch, in float32: on the CPU, or on a GPU by --device cuda.

A step clears the gradients, runs forward and backward of x-clip's own CLIP,
updates every parameter that has a gradient with AdamW and reads the loss. The
data are random, drawn once (texts without padding, one image for each text),
and lie ready in memory: nothing is loaded inside the timed part.

What is counted
---------------
Only matrix products. One of an [m, k] with a [k, n] matrix counts 2*m*n*k.
Embedding look-ups, norms, softmax, GELU, the loss and AdamW count nothing.

B batch, T tokens in the transformer, D width, H heads, d head width (64),
L latent width, P patches before patch dropout, p patch side. Forward:

  each layer of a transformer
    to_qkv                 2 * B*T * 3*H*d * D
    attention scores       2 * B*H * T*T * d      masked positions included
    attention mix          2 * B*H * T*d * T
    to_out                 2 * B*T * D * H*d
    feed-forward, in       2 * B*T * 8*D * D      GEGLU: value and gate
    feed-forward, out      2 * B*T * D * 4*D
  text,  T = text tokens + 1 (CLS)
    to_text_latent         2 * B * L * D
  image, T = patches kept = max(1, int(P * (1 - patch dropout)))
    to_tokens              2 * B*P * D * 3*p*p    all patches, before dropout
    to_cls_tokens          2 * B * D * D
    to_visual_latent       2 * B * L * D
  contrastive loss
    similarities           2 * B*B * L            once, for both directions

Backward is twice the forward, one product for each factor's gradient, but for
to_tokens: pixels need no gradient, so its backward is one product, not two.
The script checks this total against PyTorch's own count of the step it runs.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode
from x_clip import CLIP

CHANNELS = 3
HEAD_WIDTH = 64
CEILING_SIDE = 2048

SIZES = {
    # The sizes in x-clip's README, with the plain contrastive loss.
    "readme": dict(
        dim_text=512,
        dim_image=512,
        dim_latent=512,
        num_text_tokens=10000,
        text_enc_depth=6,
        text_seq_len=256,
        text_heads=8,
        visual_enc_depth=6,
        visual_heads=8,
        visual_image_size=256,
        visual_patch_size=32,
        visual_patch_dropout=0.5,
    ),
    # The widths and depths of CLIP ViT-B/32, in x-clip's blocks.
    "vit-b-32": dict(
        dim_text=512,
        dim_image=768,
        dim_latent=512,
        num_text_tokens=49408,
        text_enc_depth=12,
        text_seq_len=77,
        text_heads=8,
        visual_enc_depth=12,
        visual_heads=12,
        visual_image_size=224,
        visual_patch_size=32,
        visual_patch_dropout=0.0,
    ),
}


def layer_flops(batch: int, tokens: int, width: int, heads: int) -> int:
    """Forward FLOPs of one transformer layer: attention and feed-forward."""
    rows = batch * tokens
    inner = heads * HEAD_WIDTH
    to_qkv = 2 * rows * 3 * inner * width
    scores = 2 * batch * heads * tokens * tokens * HEAD_WIDTH
    mix = 2 * batch * heads * tokens * HEAD_WIDTH * tokens
    to_out = 2 * rows * width * inner
    feed_forward_in = 2 * rows * 8 * width * width
    feed_forward_out = 2 * rows * width * 4 * width
    return to_qkv + scores + mix + to_out + feed_forward_in + feed_forward_out


def step_flops(size: dict, batch: int) -> int:
    """FLOPs of one training step; the formula is in the module's docstring."""
    latent = size["dim_latent"]

    text_width = size["dim_text"]
    text_layer = layer_flops(batch, size["text_seq_len"] + 1, text_width, size["text_heads"])
    text = size["text_enc_depth"] * text_layer + 2 * batch * latent * text_width

    image_width = size["dim_image"]
    side = size["visual_patch_size"]
    patches = (size["visual_image_size"] // side) ** 2
    kept = max(1, int(patches * (1 - size["visual_patch_dropout"])))
    image_layer = layer_flops(batch, kept, image_width, size["visual_heads"])
    to_tokens = 2 * batch * patches * image_width * CHANNELS * side**2
    to_cls_tokens = 2 * batch * image_width * image_width
    to_visual_latent = 2 * batch * latent * image_width
    image = size["visual_enc_depth"] * image_layer + to_cls_tokens + to_visual_latent

    similarities = 2 * batch * batch * latent

    # Forward and the two products of backward; for to_tokens forward and one.
    return 3 * (text + image + similarities) + 2 * to_tokens


def sgemm_gflops(device: str, runs: int = 8) -> float:
    """GFLOP/s of the best of several float32 products of square matrices."""
    a, b = torch.randn(2, CEILING_SIDE, CEILING_SIDE, device=device)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        torch.mm(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * CEILING_SIDE**3 / min(seconds) / 1e9


def peak_rss_mb() -> float:
    """The most memory this process ever had resident, in MB of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return peak * bytes_per_unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Time x-clip's training step in PyTorch.")
    parser.add_argument("--size", choices=SIZES, default="readme")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tf32", action="store_true", help="round products' factors, on a GPU")
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after two untimed")
    args = parser.parse_args()
    if min(args.batch, args.threads, args.steps) < 1:
        parser.error("--batch, --threads and --steps must be at least 1")

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if args.tf32 else "highest")
    size = SIZES[args.size]
    clip = CLIP(**size).train().to(args.device)
    # fused is the fastest of PyTorch's AdamW loops.
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    # Ids start at 1: x-clip takes 0 for padding.
    texts = torch.randint(
        1, size["num_text_tokens"], (args.batch, size["text_seq_len"]), device=args.device
    )
    side = size["visual_image_size"]
    images = torch.randn(args.batch, CHANNELS, side, side, device=args.device)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = clip(texts, images, return_loss=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    flops = step_flops(size, args.batch)
    with FlopCounterMode(display=False) as counter:
        step()
    if counter.get_total_flops() != flops:
        sys.exit(f"step.py counts {flops} FLOPs, PyTorch {counter.get_total_flops()}")
    step()

    # Before and after the steps, so that a ceiling from a busy moment is not taken.
    ceiling_before = sgemm_gflops(args.device)
    seconds = []
    for index in range(args.steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
        print(f"step {index + 1}: {seconds[-1]:.3f} s, loss {loss:.4f}", flush=True)
    peak = peak_rss_mb()
    ceiling = max(ceiling_before, sgemm_gflops(args.device))

    median = statistics.median(seconds)
    gflops = flops / median / 1e9
    result = {
        "engine": "x-clip on PyTorch",
        "torch": torch.__version__,
        "cpuCapability": torch.backends.cpu.get_cpu_capability(),
        "preload": os.environ.get("LD_PRELOAD", ""),
        "platform": platform.platform(),
        "size": args.size,
        "batch": args.batch,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "tf32": args.tf32,
        "threads": args.threads,
        "steps": args.steps,
        "parameters": sum(p.numel() for p in clip.parameters()),
        "gflopPerStep": round(flops / 1e9, 3),
        "medianSeconds": round(median, 4),
        "minSeconds": round(min(seconds), 4),
        "gflops": round(gflops, 1),
        "sgemmGflops": round(ceiling, 1),
        "ofCeiling": round(gflops / ceiling, 3),
        "peakRssMB": round(peak, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
