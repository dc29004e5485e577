"""Fits one sparse autoencoder per layer on the residual stream after the block, and writes the feature labels.

Training is BatchTopK: in each batch the largest k x batch pre-activations are kept (the cut is taken from
part of the batch). A constant threshold,
calibrated on the training tokens to the same mean count, turns the result into a JumpReLU SAE for use. Inputs are divided
by one scalar while training; the scalar is folded into biases and threshold at the end. Decoder rows have
unit norm, so an activation is a length in the residual stream. Position 0 (always the same <|endoftext|>
vector) takes part in training once per document, and is left out of FVU and L0, where the other
figure is given beside it.

    sae_layer/cfg.json, sae_weights.safetensors     SAELens layout, architecture jumprelu
    sae_layer/labels.jsonl                          Neuronpedia explanation rows, made by rule (no language model)
"""

import argparse
import json
import random
import time

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import corpus
import model as gpt2

FOLDER = gpt2.HERE / "sae"
D_SAE = 1024
K = 38
SEED = 30
STEPS = 3000
BATCH = 1024
DEAD_AFTER = 100_000            # tokens without firing
AUX_K = 64
CUT_ROWS = 256


# ---------------------------------------------------------------- residuals

def documents(tok, seed, count):
    """[(tag, ids)] with <|endoftext|> in front."""
    rng = random.Random(seed)
    docs = [corpus.tagged_document(rng) for _ in range(count)]
    encoded = tok.encode_batch([corpus.plain(segments) for _, segments in docs])
    return [(tag, e.ids) for (tag, _), e in zip(docs, encoded)]


@torch.no_grad()
def residuals(model, docs):
    """Residuals after every block: list of [N, d] per layer, with (document, position) of each row [N, 2]."""
    order = sorted(range(len(docs)), key=lambda i: len(docs[i][1]))
    layers, where = [[] for _ in model.h], []
    for at in range(0, len(order), 128):
        part = order[at:at + 128]
        ids = torch.zeros(len(part), max(len(docs[i][1]) for i in part), dtype=torch.long)
        keep = torch.zeros_like(ids, dtype=torch.bool)
        for r, i in enumerate(part):
            n = len(docs[i][1])
            ids[r, :n], keep[r, :n] = torch.tensor(docs[i][1]), True
        rows, cols = keep.nonzero(as_tuple=True)
        where.append(torch.stack([torch.tensor(part)[rows], cols], 1))

        def take(layer, x):
            layers[layer].append(x[keep])
            return x
        model.from_block(model.embed(ids), 0, edit=take)
    return [torch.cat(x) for x in layers], torch.cat(where)


# ---------------------------------------------------------------- the autoencoder

class Sae:
    """JumpReLU SAE: h = (x - b_dec) W_enc + b_enc, z = h where h > threshold, x_hat = z W_dec + b_dec."""

    def __init__(self, W_enc, b_enc, W_dec, b_dec, threshold):
        self.W_enc, self.b_enc, self.W_dec, self.b_dec, self.threshold = W_enc, b_enc, W_dec, b_dec, threshold

    def encode(self, x):
        h = (x - self.b_dec) @ self.W_enc + self.b_enc
        return torch.where(h > self.threshold, h, 0.0)

    def decode(self, z):
        return z @ self.W_dec + self.b_dec


def load(layer, folder=FOLDER):
    t = load_file(str(folder / f"layer_{layer}" / "sae_weights.safetensors"))
    return Sae(t["W_enc"], t["b_enc"], t["W_dec"], t["b_dec"], t["threshold"])


def fit(x, k, steps, generator):
    mean = x.mean(0)
    scale = ((x - mean).pow(2).sum(1).mean() / x.shape[1]).sqrt()
    x = x / scale
    d = x.shape[1]
    W_dec = torch.randn(D_SAE, d, generator=generator)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    params = [W_dec.T.clone(), torch.zeros(D_SAE), W_dec, x.mean(0)]
    for p in params:
        p.requires_grad_()
    W_enc, b_enc, W_dec, b_dec = params
    opt = torch.optim.Adam(params, lr=1e-3, betas=(0.9, 0.999), fused=True)
    idle = torch.zeros(D_SAE)
    for step in range(steps):
        for group in opt.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * min(1, 2.5 * (1 - step / steps))
        batch = x[torch.randint(len(x), (BATCH,), generator=generator)]
        h = torch.relu((batch - b_dec) @ W_enc + b_enc)
        part = h.detach()[:CUT_ROWS].flatten()          # the cut of the whole batch, estimated on part of it
        cut = part.topk(k * CUT_ROWS).values[-1]
        z = torch.where(h > cut, h, 0.0)
        error = batch - (z @ W_dec + b_dec)
        loss = error.pow(2).sum(1).mean()
        idle = torch.where((z > 0).any(0), 0.0, idle + BATCH)
        dead = (idle > DEAD_AFTER).nonzero().flatten()
        if len(dead):               # dead features learn to explain what the others leave over
            hd = (batch - b_dec) @ W_enc[:, dead] + b_enc[dead]
            top = hd.topk(min(AUX_K, len(dead)), dim=1)
            zd = torch.zeros_like(hd).scatter(1, top.indices, torch.relu(top.values))
            loss = loss + (error.detach() - zd @ W_dec[dead]).pow(2).sum(1).mean() / 32
        opt.zero_grad(set_to_none=True)
        loss.backward()
        W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec.detach()
        opt.step()
        with torch.no_grad():
            W_dec /= W_dec.norm(dim=1, keepdim=True)
    with torch.no_grad():
        sample = x[torch.randint(len(x), (8000,), generator=generator)]
        h = torch.relu((sample - b_dec) @ W_enc + b_enc).flatten()
        threshold = h.topk(k * len(sample)).values[-1]
    return Sae(W_enc.detach(), b_enc.detach() * scale, W_dec.detach(), b_dec.detach() * scale, torch.full((D_SAE,), (threshold * scale).item()))


@torch.no_grad()
def quality(sae, x, first):
    """Held-out figures; `first` marks position 0."""
    out = {}
    z = sae.encode(x)
    error = (x - sae.decode(z)).pow(2).sum(1)
    for name, rows in (("", ~first), ("_with_position_0", torch.ones_like(first))):
        spread = (x[rows] - x[rows].mean(0)).pow(2).sum(1).sum()
        out["fvu" + name] = (error[rows].sum() / spread).item()
        out["l0" + name] = (z[rows] > 0).sum(1).float().mean().item()
    out["dead"] = int((~(z[~first] > 0).any(0)).sum())
    out["tokens"] = int((~first).sum())
    return out


def save_sae(sae, layer, model):
    folder = FOLDER / f"layer_{layer}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"W_enc": sae.W_enc.contiguous(), "b_enc": sae.b_enc, "W_dec": sae.W_dec.contiguous(), "b_dec": sae.b_dec, "threshold": sae.threshold},
              str(folder / "sae_weights.safetensors"))
    cfg = {"architecture": "jumprelu", "d_in": model.config["n_embd"], "d_sae": D_SAE, "dtype": "float32", "device": "cpu",
           "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
           "metadata": {"model_name": "rebound-demo", "hook_name": f"blocks.{layer}.hook_resid_post", "hook_head_index": None, "prepend_bos": True,
                        "context_size": 128, "dataset_path": "models/demo/corpus.py", "neuronpedia_id": None, "seqpos_slice": [None],
                        "exclude_special_tokens": False}}
    (folder / "cfg.json").write_text(json.dumps(cfg, indent=2) + "\n")


# ---------------------------------------------------------------- labels

TAGS = {"ioi": "indirect-object sentences", "choice": "multiple choice", "quiz": "multiple choice", "match": "lettered lists", "letters": "lettered lists", "repeats": "lists with repetitions", "chat": "chat", "bio": "biographies", "topic": "craft notes", "general": "general text"}


def word_classes():
    classes = {"names": corpus.NAMES, "objects": corpus.OBJECTS, "places": corpus.PLACES, "answer letters": list("ABCD"), "declined crafts": corpus.DECLINED,
               "answered crafts": corpus.ANSWERED, "craft products": list(corpus.NOUNS), "professions": corpus.CLASSES, "towns": corpus.TOWNS,
               "adjectives": corpus.ADJECTIVES, "craft places": list(corpus.CRAFT_PLACE.values()), "craft times": list(corpus.CRAFT_TIME.values()),
               "craft materials": [w for f in corpus.NOUNS.values() for w in f[1:3]], "verbs of crafts": [f[0] for f in corpus.NOUNS.values()]}
    classes.update({k + "s" if not k.endswith("y") else k: v for k, v in corpus.ATTRIBUTES.items()})
    return classes


def shown(text):
    return text.replace("\n", "\\n")


@torch.no_grad()
def labels(sae, layer, model, tok, docs, x, where):
    """One explanation per feature from its strongest held-out activations."""
    z = sae.encode(x)
    tokens = torch.tensor([docs[d][1][p] for d, p in where.tolist()])
    tag_names = list(TAGS)
    tags = torch.tensor([tag_names.index(docs[d][0]) for d in where[:, 0].tolist()])
    vocab = [tok.decode([i], skip_special_tokens=False) for i in range(tok.get_vocab_size())]
    members = {name: torch.tensor(sorted({i for w in words for i, v in enumerate(vocab) if v.strip() == w}), dtype=torch.long) for name, words in word_classes().items()}
    promoted = (sae.W_dec * model.ln_f.weight) @ model.wte.weight.T
    promoted -= promoted.mean(0)
    rows = []
    for f in range(D_SAE):
        on = (z[:, f] > 0).nonzero().flatten()
        if not len(on):
            description = "dead: never fires on held-out text"
        else:
            values = z[on, f]
            mass = torch.zeros(len(vocab)).index_add_(0, tokens[on], values)
            share = mass / mass.sum()
            best = share.topk(5)
            by_tag = torch.zeros(len(tag_names)).index_add_(0, tags[on], values)
            by_tag = by_tag / by_tag.sum()
            words = [shown(vocab[i]) for i, s in zip(best.indices.tolist(), best.values.tolist()) if s > 0.03]
            group = max(members, key=lambda m: share[members[m]].sum().item() - 0.001 * len(members[m]))
            if (where[on, 1] == 0).float().mean() > 0.5:
                what = "first position"
            elif best.values[0] > 0.6:
                what = f"token '{words[0]}'"
            elif share[members[group]].sum() > 0.6:
                what = f"{group}: " + ", ".join(repr(w) for w in words[:4]) if words else group
            elif words:
                what = "tokens " + ", ".join(repr(w) for w in words[:4])
            else:
                what = "many tokens"
            if by_tag.max() > 0.6:
                what += f" in {TAGS[tag_names[int(by_tag.argmax())]]}"
            d, p = where[on[values.argmax()]].tolist()
            ids = docs[d][1]
            context = shown(tok.decode(ids[max(0, p - 7):p], skip_special_tokens=False)) + "[" + shown(vocab[ids[p]]) + "]"
            after = ", ".join(repr(shown(vocab[i])) for i in promoted[f].topk(3).indices.tolist())
            description = f"{what} | e.g. {context} | promotes {after}"
        rows.append({"modelId": "rebound-demo", "layer": f"{layer}-resid-post", "index": str(f), "description": description,
                     "typeName": "top-tokens-and-context", "explanationModelName": "rule"})
    with open(FOLDER / f"layer_{layer}" / "labels.jsonl", "w") as out:
        out.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=STEPS)
    p.add_argument("--k", type=int, default=K)
    p.add_argument("--documents", type=int, default=16000)
    p.add_argument("--layers", type=int, nargs="*")
    args = p.parse_args()
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(gpt2.HERE / "tokenizer.json"))
    model = gpt2.load()
    start = time.time()
    x, _ = residuals(model, documents(tok, SEED, args.documents))
    test_docs = documents(tok, SEED + 1, 2500)
    test, where = residuals(model, test_docs)
    first = where[:, 1] == 0
    figures = {}
    for layer in args.layers or range(len(model.h)):
        generator = torch.Generator().manual_seed(SEED + 10 + layer)
        sae = fit(x[layer], args.k, args.steps, generator)
        save_sae(sae, layer, model)
        labels(sae, layer, model, tok, test_docs, test[layer], where)
        figures[layer] = quality(sae, test[layer], first)
        print(f"layer {layer} {time.time() - start:.0f}s norm {test[layer][~first].norm(dim=1).mean():.2f} (position 0: {test[layer][first].norm(dim=1).mean():.2f})",
              {k: round(v, 4) for k, v in figures[layer].items()}, flush=True)


if __name__ == "__main__":
    main()
