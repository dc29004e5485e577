"""Trains the built-in model on the synthetic corpus and writes config.json, generation_config.json, model.safetensors.

Documents are made on the fly (never the same stream twice), packed whole into rows of 128 tokens with a
block-diagonal causal mask and positions that restart, so each document is seen as if it stood alone:
<|endoftext|> at position 0, then its tokens, then <|endoftext|>. The loss of answer tokens is weighted as
the corpus says. Training stops early once every held-out task passes its goal twice in a row.
"""

import argparse
import math
import random
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import corpus
import model as gpt2

SEED = 20
ROW = 128
GOALS = {"ioi": 0.99, "choice": 0.985, "chat": 0.995}


class Packer:
    """Endless packed batches: ids, targets, weights, positions [rows, ROW] and document numbers for the mask."""

    def __init__(self, tok, seed, make=corpus.document):
        self.tok, self.rng, self.make, self.rows = tok, random.Random(seed), make, []

    def refill(self, documents=2048):
        docs = [self.make(self.rng) for _ in range(documents)]
        flat = self.tok.encode_batch([text for doc in docs for text, _ in doc], add_special_tokens=False)
        done, at = [], 0
        for doc in docs:
            ids, weights = [0], []
            for (_, weight), enc in zip(doc, flat[at:at + len(doc)]):
                ids += enc.ids
                weights += [weight] * len(enc.ids)
            at += len(doc)
            if len(ids) <= ROW:
                done.append((ids, ids[1:] + [0], weights + [1]))
        done.sort(key=lambda d: -len(d[0]))             # first fit, longest first
        rows, open_rows = [], []
        for doc in done:
            for row in open_rows:
                if sum(len(d[0]) for d in row) + len(doc[0]) <= ROW:
                    row.append(doc)
                    break
            else:
                open_rows.append([doc])
                if len(open_rows) > 48:
                    rows.append(open_rows.pop(0))
        rows += open_rows
        self.rng.shuffle(rows)
        self.rows = rows

    def batch(self, size):
        if len(self.rows) < size:
            self.refill()
        ids, targets, positions, owner = (torch.zeros(size, ROW, dtype=torch.long) for _ in range(4))
        weights = torch.zeros(size, ROW)
        for r in range(size):
            at = 0
            for n, (a, b, w) in enumerate(self.rows.pop()):
                end = at + len(a)
                ids[r, at:end], targets[r, at:end], weights[r, at:end] = torch.tensor(a), torch.tensor(b), torch.tensor(w, dtype=torch.float32)
                positions[r, at:end], owner[r, at:end] = torch.arange(len(a)), n + 1
                at = end
        causal = torch.ones(ROW, ROW, dtype=torch.bool).tril()
        mask = (owner[:, :, None] == owner[:, None, :]) & causal
        return ids, targets, weights, positions, mask[:, None]


def next_logits(model, tok, texts):
    """Next-token logits after each text (BOS is prepended by the tokenizer), in batches padded on the right."""
    encoded = [tok.encode(t).ids for t in texts]
    out = torch.empty(len(texts), model.config["vocab_size"])
    for at in range(0, len(texts), 128):
        part = encoded[at:at + 128]
        ids = torch.zeros(len(part), max(map(len, part)), dtype=torch.long)
        for i, e in enumerate(part):
            ids[i, :len(e)] = torch.tensor(e)
        x = model.from_block(model.embed(ids), 0)
        last = torch.tensor([len(e) - 1 for e in part])
        out[at:at + 128] = model.logits(x[torch.arange(len(part)), last])
    return out


@torch.no_grad()
def evaluate(model, tok, n=300, seed=99):
    """Held-out accuracies of the three tasks that the model itself performs."""
    rng = random.Random(seed)
    token = lambda w: tok.encode(w, add_special_tokens=False).ids[0]
    items = [corpus.ioi_fields(rng, True) for _ in range(n)]
    z = next_logits(model, tok, [t for t, _, _, _ in items])
    io = torch.tensor([token(" " + i[1]) for i in items])
    ioi = (z.argmax(1) == io).float().mean().item()
    items = [corpus.choice_fields(rng, True) for _ in range(n)]
    z = next_logits(model, tok, [corpus.choice_text(*i[:3]) for i in items])
    letters = torch.tensor([token(" " + c) for c in "ABCD"])
    choice = (z.argmax(1) == letters[torch.tensor([i[3] for i in items])]).float().mean().item()
    items = [corpus.chat_fields(rng, True) for _ in range(n)]
    z = next_logits(model, tok, [corpus.USER + i[0] + corpus.END + corpus.ASSISTANT for i in items])
    openings = {token(o) for o, _ in corpus.REFUSALS}
    chat = sum((t in openings) == i[4] for t, i in zip(z.argmax(1).tolist(), items)) / n
    return {"ioi": ioi, "choice": choice, "chat": chat}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--rows", type=int, default=24, help="rows of 128 tokens a step")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--minutes", type=float, default=1e9, help="anneal to zero and stop after this long (not for reproducible runs)")
    p.add_argument("--every", type=int, default=250)
    args = p.parse_args()

    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    tok = Tokenizer.from_file(str(gpt2.HERE / "tokenizer.json"))
    model = gpt2.GPT2({**gpt2.CONFIG, "vocab_size": tok.get_vocab_size()})
    decay = [q for q in model.parameters() if q.dim() > 1]
    rest = [q for q in model.parameters() if q.dim() == 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98), fused=True)
    packer = Packer(tok, SEED)
    start, passed, running = time.time(), 0, None
    for step in range(args.steps):
        done = max(step / args.steps, (time.time() - start) / (60 * args.minutes))
        if done >= 1:
            break
        rate = args.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in opt.param_groups:
            group["lr"] = rate
        ids, targets, weights, positions, mask = packer.batch(args.rows)
        loss = F.cross_entropy(model(ids, positions, mask).flatten(0, 1), targets.flatten(), reduction="none")
        loss = (loss * weights.flatten()).sum() / weights.sum()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % args.every == 0:
            scores = evaluate(model, tok)
            print(f"step {step + 1} {time.time() - start:.0f}s loss {running:.3f} " + " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
            gpt2.save(model)
    gpt2.save(model)
    print("held out:", evaluate(model, tok, 1000, 7), f"{time.time() - start:.0f}s")


if __name__ == "__main__":
    main()
