"""Trains the built-in model on the synthetic corpus and writes config.json, generation_config.json, model.safetensors.

Documents are made on the fly (never the same stream twice), packed whole into rows of 128 tokens with a
block-diagonal causal mask and positions that restart, so each document is seen as if it stood alone:
<|endoftext|> at position 0, then its tokens, then <|endoftext|>. The loss of answer tokens is weighted as
the corpus says. The rate stays constant, on the early mix, until the held-out goals are met twice in a row;
then it falls to zero over the last steps, on the final mix.

Two worker processes of one thread each share every step and average their gradients; the result depends
on their number, not on the machine's cores.
"""

import argparse
import random
import tempfile
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

import corpus
import model as gpt2

SEED = 20
ROW = 128
WORKERS = 2
GOALS = {"ioi": 0.9, "choice": 0.95, "chat": 0.95}


class Packer:
    """Endless packed batches: ids, targets, weights, positions [rows, ROW] and document numbers for the mask."""

    def __init__(self, tok, seed):
        self.tok, self.rng, self.mix, self.rows = tok, random.Random(seed), corpus.EARLY_MIX, []

    def refill(self, documents=1024):
        docs = [corpus.document(self.rng, self.mix) for _ in range(documents)]
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
def evaluate(model, tok, n=160, seed=99):
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


def mean_gradients(parameters):
    """Averages the gradients of all workers in place."""
    grads = [q.grad for q in parameters]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= WORKERS
    at = 0
    for g in grads:
        g.copy_(flat[at:at + g.numel()].view_as(g))
        at += g.numel()


def initialise(model):
    """Starts where the circuits of this corpus are near. Without it the look-ups of tasks (a) and (b) are not found in many times the steps.

    Half of the position's coordinates are sines and cosines of its number, so that "the token before" is one rotation
    for all positions. In the first two blocks half of the heads have equal query and key matrices, so that they
    attend to equal tokens from the start (mimetic initialisation, Trockman and Kolter, arXiv 2305.09828).
    """
    with torch.no_grad():
        n, d = model.wpe.weight.shape
        angle = torch.arange(n)[:, None] * (2 * torch.pi / torch.logspace(2, 9, d // 4, base=2))
        model.wpe.weight[:, :d // 2] = gpt2.INIT * torch.cat([angle.sin(), angle.cos()], 1)
        for block in model.h[:2]:
            weight = block.attn.c_attn.weight
            weight[:, :d // 2] = torch.randn(d, d // 2) * 0.08
            weight[:, d:d + d // 2] = weight[:, :d // 2]


def optimisers(model, args):
    """Muon for the blocks' matrices, AdamW for the rest, each with its rate."""
    matrices = [q for name, q in model.named_parameters() if name.startswith("h.") and q.dim() == 2]
    tables = [model.wte.weight, model.wpe.weight]
    vectors = [q for q in model.parameters() if q.dim() == 1]
    adam = torch.optim.AdamW([{"params": tables, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98), fused=True)
    return [(adam, args.lr), (torch.optim.Muon(matrices, lr=args.muon, weight_decay=0.05, momentum=0.95), args.muon)]


def work(rank, args, store):
    """One worker: its own stream of documents, the same weights as the others after every step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORKERS)
    tok = Tokenizer.from_file(str(gpt2.HERE / "tokenizer.json"))
    model = gpt2.GPT2({**gpt2.CONFIG, "vocab_size": tok.get_vocab_size()})
    initialise(model)
    parameters = list(model.parameters())
    opts = optimisers(model, args)
    packer = Packer(tok, SEED + rank)
    start, running = time.time(), None
    learned, end = 0, args.steps        # the last args.settle steps before `end` take the rate to zero
    for step in range(args.steps):
        if step >= end:
            break
        share = min(1, (step + 1) / 200, max(0.01, (end - step) / args.settle))
        for opt, rate in opts:
            for group in opt.param_groups:
                group["lr"] = rate * share
        if end - step <= args.settle:
            packer.mix = corpus.MIX
        ids, targets, weights, positions, mask = packer.batch(args.rows // WORKERS)
        loss = F.cross_entropy(model(ids, positions, mask).flatten(0, 1), targets.flatten(), reduction="none")
        loss = (loss * weights.flatten()).sum() / weights.sum()
        model.zero_grad(set_to_none=True)
        loss.backward()
        mean_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for opt, _ in opts:
            opt.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % args.every == 0:
            scores = evaluate(model, tok)
            learned = learned + 1 if all(scores[k] >= goal for k, goal in GOALS.items()) else 0
            if learned == 2 and end == args.steps:
                end = min(end, step + 1 + args.settle)
        if rank == 0 and (step + 1) % args.every == 0:
            print(f"step {step + 1} {time.time() - start:.0f}s loss {running:.3f} " + " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
            gpt2.save(model)
    if rank == 0:
        gpt2.save(model)
        print("held out:", evaluate(model, tok, 1000, 7), f"{time.time() - start:.0f}s")
    dist.barrier()
    dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=5000, help="at most")
    p.add_argument("--settle", type=int, default=1000, help="steps of falling rate and final mix after the rules are learned")
    p.add_argument("--rows", type=int, default=8, help="rows of 128 tokens a step, all workers together")
    p.add_argument("--lr", type=float, default=2e-3, help="of AdamW")
    p.add_argument("--muon", type=float, default=0.02, help="rate of Muon")
    p.add_argument("--every", type=int, default=100)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (args, folder + "/store"), nprocs=WORKERS)


if __name__ == "__main__":
    main()
