"""Runs x-clip on small models and writes what it was given and what it gave, one case a pair of files.

    python fixtures.py OUT

`npm run parity -- OUT` then compares Clipsmith with it. The format is described in
test/fixtures/golden/README.md. Cases combine options; change them at will.
"""

import json
import pathlib
import struct
import sys

import torch
import x_clip.mlm
import x_clip.x_clip as reference
from x_clip import CLIP
from x_clip import visual_ssl
from x_clip.visual_ssl import SimCLR, SimSiam

BASE = dict(
    dim_text=20, dim_image=28, dim_latent=24, num_text_tokens=60, text_enc_depth=2, text_seq_len=9,
    text_heads=3, text_dim_head=10, visual_enc_depth=1, visual_heads=2, visual_dim_head=12,
    visual_image_size=16, visual_patch_size=4, visual_patch_dropout=0.0,
)
SIMSIAM = {"type": "simsiam", "hidden_layer": -1, "projection_size": 12, "projection_hidden_size": 20}
SIMCLR = {**SIMSIAM, "type": "simclr", "temperature": 0.2}

# name: (constructor options, forward options, batch, views of texts and of images beside the first)
CASES = {
    "sizes": (dict(decoupled_contrastive_learning=True, visual_patch_dropout=0.4), {}, 7, (0, 0)),
    "filip_views": (
        dict(use_all_token_embeds=True, extra_latent_projection=True, channels=1,
             visual_patch_dropout=0.5), {}, 4, (1, 2)),
    "filip_downsample_dropout": (
        dict(use_all_token_embeds=True, downsample_image_embeds=True, visual_patch_dropout=0.5),
        {}, 3, (0, 0)),
    "filip_without_mask": (
        dict(use_all_token_embeds=True, text_encode_without_mask=True, visual_has_cls_token=False,
             decoupled_contrastive_learning=True), {}, 6, (0, 0)),
    "mlm_rotary_simsiam": (
        dict(use_mlm=True, mlm_mask_prob=0.4, mlm_random_token_prob=0.2, text_ssl_loss_weight=0.2,
             text_rotary_pos_emb=True, visual_ssl={**SIMSIAM, "hidden_layer": -2},
             image_ssl_loss_weight=0.3), {}, 5, (0, 0)),
    "simclr_dropout_views": (
        dict(visual_ssl=SIMCLR, visual_patch_dropout=0.5, multiview_loss_weight=0.25), {}, 4, (1, 1)),
    "causal_cloob_views": (
        dict(text_causal_mask=True, text_eos_id=57, extra_latent_projection=True,
             decoupled_contrastive_learning=True), {}, 5, (2, 0)),
    "frozen_ssl": (
        dict(use_mlm=True, visual_ssl=SIMSIAM, visual_patch_dropout=0.25),
        dict(freeze_image_encoder=True, freeze_text_encoder=True), 5, (0, 0)),
    "simreg": (
        dict(extra_latent_projection=True, decoupled_contrastive_learning=True,
             sim_reg_loss_weight=0.7, visual_patch_dropout=0.5), {}, 6, (0, 0)),
    "checkpointing": (
        dict(checkpoint_during_training=True, text_rotary_pos_emb=True, text_enc_depth=3), {}, 3, (0, 0)),
}

DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def write_safetensors(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def draw_text(batch, options):
    length, vocabulary = options["text_seq_len"], options["num_text_tokens"]
    text = torch.randint(3, vocabulary - 5, (batch, length))
    for row in text:
        words = int(torch.randint(2, length + 1, ()))
        row[words:] = 0
        if "text_eos_id" in options:
            row[words - 1] = options["text_eos_id"]
    return text


def record_draws(tensors):
    """Makes patch dropout and masked language modelling tell what they draw."""
    kept = []

    def dropped(self, x, force_keep_all=False):
        if not self.training or self.prob == 0 or force_keep_all:
            return x
        count = max(1, int(x.shape[1] * (1 - self.prob)))
        indices = torch.randn(x.shape[:2]).topk(count, dim=-1).indices
        kept.append(indices)
        return x[torch.arange(x.shape[0])[:, None], indices]

    reference.PatchDropout.forward = dropped
    cross_entropy = torch.nn.functional.cross_entropy

    class Functional:
        def __getattr__(self, name):
            return getattr(torch.nn.functional, name)

        @staticmethod
        def cross_entropy(logits, labels, **options):
            tensors["in.mlm_labels"] = labels.clone()
            return cross_entropy(logits, labels, **options)

    x_clip.mlm.F = Functional()
    return kept


def run(out, name, options, forward, batch, extra_views):
    torch.manual_seed(sum(map(ord, name)))
    described = {**BASE, **options}
    tensors = {}
    kept = record_draws(tensors)
    channels = described.get("channels", 3)
    size = described["visual_image_size"]
    image = lambda: torch.randn(batch, channels, size, size)
    built = dict(described)
    ssl = built.pop("visual_ssl", None)
    model = CLIP(**built)
    views = [image(), image()] if ssl else []
    queue = []
    if ssl:
        module = build_ssl(ssl, model.visual_transformer, size, channels, queue)
        model = CLIP(**built, image_encoder=model.visual_transformer, visual_ssl=module,
                     use_visual_ssl=True)
        described["use_visual_ssl"] = True
    kept.clear()
    with torch.no_grad():
        model.temperature.fill_(0.7)
        for parameter in model.parameters():
            # Away from the ones that gains start at, so that a wrong order shows.
            parameter.add_(0.05 * torch.randn_like(parameter))
    names = {}
    aliases = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if id(value) in names:
            aliases[key] = names[id(value)]
            continue
        names[id(value)] = key
        tensors[f"param.{key}"] = value.detach().clone()
    text = draw_text(batch, described)
    tensors["in.text"] = text
    tensors["in.image"] = picture = image()
    call = dict(forward)
    augmented = {}
    texts, images = extra_views
    if texts:
        augmented["aug_text"] = [draw_text(batch, described) for _ in range(texts)]
    if images:
        augmented["aug_image"] = [image() for _ in range(images)]
    for key, values in augmented.items():
        call[key] = [f"in.{key}.{i}" for i in range(len(values))]
        for i, value in enumerate(values):
            tensors[f"in.{key}.{i}"] = value
    for i, view in enumerate(views):
        tensors[f"in.view{i + 1}"] = view
    if described.get("use_mlm"):
        encode = model.mlm.transformer.forward
        model.mlm.transformer.forward, first = record_sequence(encode, tensors), encode
    reference.b = batch * (1 + texts)  # x-clip reads a name that it never defines
    queue.extend(views)
    model.train()
    loss = model(text, picture, return_loss=True, **forward, **augmented)
    loss.backward()
    if described.get("use_mlm"):
        model.mlm.transformer.forward = first
    tensors["out.loss"] = loss.detach()
    for i, indices in enumerate(kept):
        tensors["in.patch_indices" if len(kept) == 1 else f"in.patch_indices.{i}"] = indices
    none = []
    for key, parameter in model.named_parameters():
        if parameter.grad is None:
            none.append(key)
        else:
            tensors[f"grad.{key}"] = parameter.grad
    parameters = {key for key, _ in model.named_parameters()}
    for key, value in model.state_dict().items():
        if key not in parameters and key not in aliases and "visual_ssl" in key:
            tensors[f"out.buffer.{key}"] = value.clone()
    model.eval()
    reference.b = batch
    with torch.no_grad():
        found = model(text, picture, return_latents=True)
        for key, value in zip(("text", "image", "text_extra", "image_extra"), found):
            side, *more = key.split("_")
            tensors["_".join([f"out.eval.{side}_latents", *more])] = value
        tensors["out.eval.sim"] = model(text, picture)
        tensors["out.eval.sim_image_to_text"] = model(text, picture, text_to_image=False)
    description = dict(name=name, reference="x-clip", kind="train", ctor=described,
                       forward={"text": "in.text", "image": "in.image", "return_loss": True, **call},
                       aliases=aliases, grad_none=none)
    (out / f"{name}.json").write_text(json.dumps(description, indent=1))
    write_safetensors(out / f"{name}.safetensors", tensors)
    print(name, float(loss))


def build_ssl(described, encoder, size, channels, queue):
    """A module that takes its views from a queue: x-clip draws one set of changes for a whole batch."""
    options = dict(image_size=size, channels=channels, hidden_layer=described["hidden_layer"],
                   augment_fn=lambda x: queue.pop(0) if queue else x)
    if described["type"] == "simsiam":
        return SimSiam(encoder, projection_size=described["projection_size"],
                       projection_hidden_size=described["projection_hidden_size"], **options)
    # The hidden size of SimCLR's projector cannot be set but as its wrapper's default.
    wrapper = visual_ssl.NetWrapper.__init__
    defaults = wrapper.__defaults__
    wrapper.__defaults__ = (described["projection_hidden_size"], *defaults[1:])
    try:
        return SimCLR(encoder, project_dim=described["projection_size"],
                      temperature=described["temperature"], **options)
    finally:
        wrapper.__defaults__ = defaults


def record_sequence(encode, tensors):
    def forward(sequence, *rest, **options):
        tensors.setdefault("in.mlm_seq", sequence.clone())
        return encode(sequence, *rest, **options)

    return forward


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for case, settings in CASES.items():
        run(folder, case, *settings)
