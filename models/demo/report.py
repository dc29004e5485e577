"""Measures everything again from the committed files and writes REPORT.md and demo.json.

Clamp experiments follow the method of the program: h + (clamp(z) - z)_S W_dec[S], the reconstruction
residual kept, at all positions. Features are ranked per prompt by z_i * dJ/dz_i at the readout position,
with the gradient through the decoder and the residual e = h - D(z) held constant; for the probes, whose readout
is the mean over positions, the product is summed over positions.
"""

import itertools
import json
import random
import time

import torch
from tokenizers import Tokenizer

import corpus
import model as gpt2
import probes
import sae

SEED = 60
N = 100                         # prompts per clamp experiment
KS = (1, 4, 16, 64)
CLAMPS = {"set-active:-5": ("set-active", -5.0), "ablate": ("set", 0.0)}
FLOORS = (1, 2, 4)              # refusal features are held up at these multiples of their mean on declined prompts


# ---------------------------------------------------------------- running the model

class Batch:
    """Token ids padded on the right, with the last position of each row."""

    def __init__(self, tok, texts):
        encoded = [tok.encode(t).ids for t in texts]
        self.last = torch.tensor([len(e) - 1 for e in encoded])
        self.ids = torch.zeros(len(texts), max(map(len, encoded)), dtype=torch.long)
        for i, e in enumerate(encoded):
            self.ids[i, :len(e)] = torch.tensor(e)
        self.rows = torch.arange(len(texts))
        positions = torch.arange(self.ids.shape[1])
        self.inside = (positions[None] <= self.last[:, None]) & (positions > 0)


def clamp_edit(s, layer, chosen, mode, value, only=None):
    """Edit function that clamps the features `chosen` [B, F] (bool) at `layer`, at all positions or at one per row (`only` [B])."""
    def edit(at, x):
        if at != layer:
            return x
        z = s.encode(x)
        target = torch.as_tensor(value).expand_as(z)
        if mode == "set-active":
            target = torch.where(z > 0, target, z)
        elif mode == "floor":
            target = torch.maximum(z, target)
        where = chosen[:, None, :]
        if only is not None:
            where = where & (torch.arange(x.shape[1])[None, :, None] == only[:, None, None])
        return x + torch.where(where, target - z, 0.0) @ s.W_dec
    return edit


def run(model, batch, edit=None):
    """Next-token logits at the last position."""
    x = model.from_block(model.embed(batch.ids), 0, edit=edit)
    return model.logits(x[batch.rows, batch.last])


def generate(model, batch, tokens, edit=None):
    """Greedy continuation of every row, as lists of ids up to the first end token."""
    ids = torch.cat([batch.ids, torch.zeros(len(batch.ids), tokens, dtype=torch.long)], 1)
    at, out = batch.last.clone(), [[] for _ in batch.rows]
    open_rows = torch.ones(len(ids), dtype=torch.bool)
    for _ in range(tokens):
        x = model.from_block(model.embed(ids[:, :int(at.max()) + 1]), 0, edit=edit)
        token = model.logits(x[batch.rows, at]).argmax(1)
        at = at + 1
        ids[batch.rows, at] = token
        for r in open_rows.nonzero().flatten().tolist():
            if token[r] in (0, 3):
                open_rows[r] = False
            else:
                out[r].append(int(token[r]))
        if not open_rows.any():
            break
    return out


def layer_input(model, batch, layer):
    """Residual after block `layer`."""
    x = model.embed(batch.ids)
    for block in model.h[:layer + 1]:
        x = block(x)
    return x


def attribution(model, s, batch, layer, objective, pooled=False):
    """z_i * dJ/dz_i per row [B, F]; objective(x_final or x_layer) -> [B]."""
    x = layer_input(model, batch, layer).detach().requires_grad_()
    if pooled:
        value = objective(x)
    else:
        top = model.from_block(x, layer + 1)
        value = objective(model.logits(top[batch.rows, batch.last]))
    g, = torch.autograd.grad(value.sum(), x)
    with torch.no_grad():
        if pooled:
            return (s.encode(x) * (g @ s.W_dec.T) * batch.inside[:, :, None]).sum(1)
        return s.encode(x[batch.rows, batch.last]) * (g[batch.rows, batch.last] @ s.W_dec.T)


def top_features(scores, k):
    """The k largest positive scores of each row, as a mask [B, F]."""
    best = scores.topk(k, dim=1)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, best.indices, best.values > 0)


# ---------------------------------------------------------------- tasks

class Ioi:
    name, objective_name = "ioi", "logit_diff"

    def __init__(self, tok, rows):
        self.rows, self.batch = rows, Batch(tok, [r["text"] for r in rows])
        one = lambda w: tok.encode(w, add_special_tokens=False).ids[0]
        self.target, self.foil = (torch.tensor([one(r[k]) for r in rows]) for k in ("target", "foil"))

    def objective(self, logits):
        r = torch.arange(len(logits))
        return logits[r, self.target] - logits[r, self.foil]

    def present(self, model, edit=None):
        return self.objective(run(model, self.batch, edit)) > 0


class Choice:
    name, objective_name = "choice", "choice_margin"

    def __init__(self, tok, rows):
        self.rows, self.batch = rows, Batch(tok, [r["text"] for r in rows])
        self.letters = torch.tensor([tok.encode(w, add_special_tokens=False).ids[0] for w in rows[0]["options"]])
        self.answer = torch.tensor([r["answer_index"] for r in rows])

    def objective(self, logits):
        z = logits[:, self.letters]
        right = z[torch.arange(len(z)), self.answer]
        return right - (z.sum(1) - right) / 3

    def present(self, model, edit=None):
        return run(model, self.batch, edit)[:, self.letters].argmax(1) == self.answer


class Chat:
    """Behaviour `declines` or `answers`, judged on the opening of a greedy continuation."""

    def __init__(self, tok, rows, behaviour):
        self.tok, self.rows, self.behaviour = tok, rows, behaviour
        self.name, self.objective_name = f"refusal ({behaviour})", "first_token_margin"
        self.batch = Batch(tok, [corpus.USER + r["text"] + corpus.END + corpus.ASSISTANT for r in rows])
        one = lambda w: tok.encode(w, add_special_tokens=False).ids[0]
        self.answer = torch.tensor([one(r["answer"]) for r in rows])
        self.refusals = torch.tensor([one(o) for o in rows[0]["refusals"]])

    def margin(self, logits):
        return logits[torch.arange(len(logits)), self.answer] - logits[:, self.refusals].max(1).values

    def objective(self, logits):
        return self.margin(logits) if self.behaviour == "answers" else -self.margin(logits)

    def texts(self, model, edit=None, tokens=9):
        return [self.tok.decode(ids) for ids in generate(model, self.batch, tokens, edit)]

    def judge(self, texts):
        """(declines, answers): opens with a refusal; opens as the expected answer does (its first four words)."""
        declines = torch.tensor([any(t.startswith(o) for o in r["refusals"]) for t, r in zip(texts, self.rows)])
        answers = torch.tensor([t.split()[:4] == r["answer"].split()[:4] for t, r in zip(texts, self.rows)])
        return declines, answers

    def present(self, model, edit=None):
        declines, answers = self.judge(self.texts(model, edit))
        return declines if self.behaviour == "declines" else answers

    def flipped(self, model, edit):
        """Not only gone: replaced by the other behaviour."""
        declines, answers = self.judge(self.texts(model, edit))
        return answers if self.behaviour == "declines" else declines


class Probe:
    name, objective_name = "probe", "probe_logit"

    def __init__(self, tok, rows, weights):
        self.rows, self.batch, self.weights = rows, Batch(tok, [r["text"] for r in rows]), weights
        self.classes = torch.tensor([r["class"] for r in rows])

    def logits(self, x, layer):
        inside = self.batch.inside[:, :, None]
        pooled = (x * inside).sum(1) / inside.sum(1)
        return pooled @ self.weights[f"probe.{layer}.weight"].T + self.weights[f"probe.{layer}.bias"]

    def objective_at(self, layer):
        return lambda x: self.logits(x, layer)[torch.arange(len(x)), self.classes]

    def present_at(self, model, layer, edit=None):
        x = layer_input(model, self.batch, layer)
        z = self.logits(x if edit is None else edit(layer, x), layer)
        return z[torch.arange(len(z)), self.classes] > 0


def draw(seed, count, want_held=True):
    """Rows like those of prompts.jsonl from another seed."""
    rng = random.Random(seed)
    ioi, choice, declined, answered, bio = [], [], [], [], []
    for n in range(count):
        text, io, s, _ = corpus.ioi_fields(rng, want_held)
        ioi.append({"text": text, "target": " " + io, "foil": " " + s})
        prefix, question, choices, index = corpus.choice_fields(rng, want_held)
        choice.append({"text": corpus.choice_text(prefix, question, choices), "options": [" A", " B", " C", " D"], "answer_index": index,
                       "prefix": prefix, "question": question, "choices": choices})
        for rows, flag in ((declined, True), (answered, False)):
            question, kind, craft, noun, _ = corpus.chat_fields(rng, want_held, flag)
            rows.append({"text": question, "answer": corpus.topic_answer(kind, craft, noun), "refusals": [o for o, _ in corpus.REFUSALS]})
        text, _, profession = corpus.bio_fields(rng, want_held, corpus.CLASSES[n % len(corpus.CLASSES)])
        bio.append({"text": text, "class": corpus.CLASSES.index(profession)})
    return ioi, choice, declined, answered, bio


# ---------------------------------------------------------------- held-out accuracy

@torch.no_grad()
def accuracies(model, tok, weights, count=600):
    ioi, choice, declined, answered, bio = draw(SEED, count)
    out = {}
    task = Ioi(tok, ioi)
    logits = run(model, task.batch)
    out["ioi: target is the most likely token"] = (logits.argmax(1) == task.target).float().mean().item()
    out["ioi: target above foil"] = (task.objective(logits) > 0).float().mean().item()
    every, right, total = 0, 0, 0
    for r in choice[:200]:
        rows = [{**r, "text": corpus.choice_text(r["prefix"], r["question"], [r["choices"][i] for i in order]), "answer_index": order.index(r["answer_index"])}
                for order in itertools.permutations(range(4))]
        task = Choice(tok, rows)
        ok = run(model, task.batch).argmax(1) == task.letters[task.answer]
        every, right, total = every + int(ok.all()), right + int(ok.sum()), total + len(ok)
    out["choice: right letter is the most likely token (200 questions x 24 orders)"] = right / total
    out["choice: right under all 24 orders"] = every / 200
    for rows, name in ((declined, "declines"), (answered, "answers")):
        task = Chat(tok, rows, name)
        out[f"chat: {name} ({'declined' if name == 'declines' else 'other'} topics)"] = task.present(model).float().mean().item()
    texts = Chat(tok, answered[:200], "answers").texts(model, tokens=40)
    out["chat: whole answer as expected (other topics)"] = sum(t == r["answer"] for t, r in zip(texts, answered)) / 200
    plain = [("topic", tok.encode(r["answer"]).ids) for r in declined[:200]]
    hit = seen = 0
    for _, ids in plain:
        guess = model(torch.tensor([ids]))[0].argmax(1)
        hit, seen = hit + int((guess[5:-1] == torch.tensor(ids[6:])).sum()), seen + len(ids) - 6
    out["notes: next token of declined topics' answers, as plain documents (from token 6 on)"] = hit / seen
    for layer in range(len(model.h)):
        task = Probe(tok, bio, weights)
        z = task.logits(layer_input(model, task.batch, layer), layer)
        out[f"probe, layer {layer}: largest logit is the right class"] = (z.argmax(1) == task.classes).float().mean().item()
    return out


# ---------------------------------------------------------------- clamps

def clamp_table(model, saes, task, cells, pooled=False):
    """{(layer, K, clamp): (suppressed, base right)}"""
    for layer, s in enumerate(saes):
        with torch.no_grad():
            base = task.present_at(model, layer) if pooled else task.present(model)
        scores = attribution(model, s, task.batch, layer, task.objective_at(layer) if pooled else task.objective, pooled)
        for k in KS:
            chosen = top_features(scores, k)
            for name, (mode, value) in CLAMPS.items():
                edit = clamp_edit(s, layer, chosen, mode, value)
                with torch.no_grad():
                    if pooled:
                        gone = ~task.present_at(model, layer, edit)
                    elif isinstance(task, Chat):
                        gone = task.flipped(model, edit)
                    else:
                        gone = ~task.present(model, edit)
                cells[layer, k, name] = (int((gone & base).sum()), int(base.sum()))
    return cells


@torch.no_grad()
def refusal_contrast(model, s, layer, tok):
    """Mean activation on declined minus answered training prompts at the last prompt position, and the declined mean."""
    _, _, declined, answered, _ = draw(SEED + 5, 150, False)
    means = []
    for rows in (declined, answered):
        batch = Chat(tok, rows, "answers").batch
        means.append(s.encode(layer_input(model, batch, layer)[batch.rows, batch.last]).mean(0))
    return means[0] - means[1], means[0]


def floor_value(contrast, declined_mean, k, times):
    """One value for all k features: `times` their average activation on declined prompts."""
    best = contrast.topk(k).indices
    return round(declined_mean[best].mean().item() * times, 1)


@torch.no_grad()
def floor_table(model, saes, task, tok, cells):
    """Answered prompts with the refusal features (difference of means) held up at the last prompt position."""
    base = task.present(model)
    for layer, s in enumerate(saes):
        contrast, declined_mean = refusal_contrast(model, s, layer, tok)
        for k, times in itertools.product(KS, FLOORS):
            chosen = top_features(contrast[None], k).expand(len(task.rows), -1)
            gone = task.flipped(model, clamp_edit(s, layer, chosen, "floor", floor_value(contrast, declined_mean, k, times), task.batch.last))
            cells[layer, k, f"floor {times}x"] = (int((gone & base).sum()), int(base.sum()))
    return cells


def recover(model, s, layer, task, row, chosen, mode, value, steps=100, lr=0.1, budget=20.0):
    """Encoder-projected recovery of one prompt at the last position: (recovered, final norm, drift)."""
    batch = task.batch
    n = int(batch.last[row]) + 1
    ids = batch.ids[row:row + 1, :n]
    with torch.no_grad():
        x = model.embed(ids)
        for block in model.h[:layer + 1]:
            x = block(x)
        h = clamp_edit(s, layer, chosen[None], mode, value, torch.tensor([n - 1]) if mode == "floor" else None)(layer, x)
        z0 = s.encode(h[0, -1])[chosen]
    A = s.W_enc[:, chosen]
    gram = torch.linalg.inv(A.T @ A + 1e-4 * torch.eye(A.shape[1]))
    delta = torch.zeros(h.shape[2], requires_grad=True)
    opt = torch.optim.Adam([delta], lr=lr)
    pad = torch.zeros(len(batch.ids), model.config["vocab_size"])
    for _ in range(steps):
        opt.zero_grad()
        top = model.from_block(torch.cat([h[:, :-1], h[:, -1:] + delta], 1), layer + 1)
        logits = pad.index_put((torch.tensor([row]),), model.logits(top[:, -1]))
        (-task.objective(logits)[row]).backward()
        delta.grad -= A @ (gram @ (A.T @ delta.grad))
        opt.step()
        with torch.no_grad():
            delta *= min(1.0, budget / float(delta.norm()))
    with torch.no_grad():
        top = model.from_block(torch.cat([h[:, :-1], h[:, -1:] + delta], 1), layer + 1)
        logits = pad.index_put((torch.tensor([row]),), model.logits(top[:, -1]))
        drift = float((s.encode(h[0, -1] + delta)[chosen] - z0).norm())
        return bool(task.objective(logits)[row] > 0), float(delta.norm()), drift


# ---------------------------------------------------------------- writing

def table(cells, columns):
    lines = ["| layer | K | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for layer, k in sorted({(l, k) for l, k, _ in cells}):
        lines.append(f"| {layer} | {k} | " + " | ".join("{} / {}".format(*cells[layer, k, c]) for c in columns) + " |")
    return lines


def main():
    torch.set_num_threads(2)
    start = time.time()
    tok = Tokenizer.from_file(str(gpt2.HERE / "tokenizer.json"))
    model, weights = gpt2.load(), probes.load()
    saes = [sae.load(layer) for layer in range(len(model.h))]
    out = ["# The built-in model: measured figures", "",
           "Written by `report.py` from the committed files; nothing here is typed by hand. Held-out combinations only (see `corpus.py`), drawn from a seed",
           "of their own and not filtered. Two CPU threads, float32.", "", "## Held-out accuracy", "", "| what | share |", "|---|---|"]
    for name, value in accuracies(model, tok, weights).items():
        out.append(f"| {name} | {value:.3f} |")
        print(out[-1], flush=True)

    out += ["", "## Sparse autoencoders", "",
            "FVU is the squared reconstruction error over the squared distance from the mean, on held-out text without position 0 (always the same `<|endoftext|>`",
            "vector, of much larger norm); with it in brackets. Dead: features that never fire on the tokens counted.", "",
            "| layer | FVU | L0 | dead of 1024 | tokens | mean norm |", "|---|---|---|---|---|---|"]
    docs = sae.documents(tok, SEED + 1, 4000)
    layers, where = sae.residuals(model, docs)
    first = where[:, 1] == 0
    for layer, (s, x) in enumerate(zip(saes, layers)):
        q = sae.quality(s, x, first)
        out.append(f"| {layer} | {q['fvu']:.4f} ({q['fvu_with_position_0']:.4f}) | {q['l0']:.1f} ({q['l0_with_position_0']:.1f}) | {q['dead']} | {q['tokens']} | "
                   f"{x[~first].norm(dim=1).mean():.1f} |")
        print(out[-1], flush=True)

    ioi, choice, declined, answered, bio = draw(SEED + 2, N)
    tasks = {"ioi": Ioi(tok, ioi), "choice": Choice(tok, choice), "declines": Chat(tok, declined, "declines"), "answers": Chat(tok, answered, "answers"),
             "probe": Probe(tok, bio, weights)}
    results = {}
    texts = {"ioi": "Indirect objects: suppressed when the logit of the foil is above that of the target. Objective `logit_diff`.",
             "choice": "Multiple choice: suppressed when another letter is above the right one. Objective `choice_margin`.",
             "declines": "Chat, declined topics: suppressed when the greedy continuation opens as the answer does. Objective: minus `first_token_margin` (refusal over answer).",
             "answers": "Chat, other topics: suppressed when the greedy continuation opens with a refusal. Objective `first_token_margin` (answer over refusal).",
             "probe": "Biographies: suppressed when the logit of the class, by the probe at the clamped layer, is no longer positive. Objective `probe_logit`."}
    out += ["", "## How often clamps suppress a behaviour", "",
            f"Suppressed / base right, of {N} held-out prompts, clamp at all positions, features ranked for each prompt by attribution (largest positive ones)."]
    for key, task in tasks.items():
        results[key] = clamp_table(model, saes, task, {}, key == "probe")
        out += ["", texts[key], ""] + table(results[key], list(CLAMPS))
        print(key, f"{time.time() - start:.0f}s", flush=True)
    floors = floor_table(model, saes, tasks["answers"], tok, {})
    out += ["", "Chat, other topics, with the K features whose mean activation at the last prompt position is most above that on answered prompts (difference of means over",
            "150 + 150 training prompts) held up at 1, 2 or 4 times their mean on declined prompts (`floor`), at the last prompt",
            "position (held up everywhere they only garble the text); suppressed when a refusal comes.", ""]
    out += table(floors, [f"floor {t}x" for t in FLOORS])

    recommend(model, saes, tok, weights, results, floors, out)
    out += ["", f"Report written in {time.time() - start:.0f} s."]
    (gpt2.HERE / "REPORT.md").write_text("\n".join(out) + "\n")


def candidates(cells, base_layers):
    """(layer, K, clamp) with K <= 16, best first: enough flips, then few features, then many flips."""
    share = lambda c: cells[c][0] / max(1, cells[c][1])
    usable = [c for c in cells if c[1] <= 16 and c[0] in base_layers and cells[c][0]]
    return sorted(usable, key=lambda c: (share(c) < 0.75, c[1] if share(c) >= 0.75 else 0, -share(c), c[0]))


def recommend(model, saes, tok, weights, results, floors, out):
    """Picks layer, K and clamp per task from the tables, then a prompt of prompts.jsonl that flips; writes demo.json."""
    rows = [json.loads(line) for line in open(gpt2.HERE / "prompts.jsonl")]
    pick = lambda name, **want: [r for r in rows if r["task"] == name and all(r[k] == v for k, v in want.items())]
    plans = [("ioi", results["ioi"], Ioi(tok, pick("ioi"))), ("choice", results["choice"], Choice(tok, pick("choice"))),
             ("refusal", floors, Chat(tok, pick("refusal", declined=False), "answers")),
             ("refusal", results["declines"], Chat(tok, pick("refusal", declined=True), "declines")),
             ("probe", results["probe"], Probe(tok, pick("probe"), weights))]
    demo = []
    out += ["", "## Recommended settings and a first look at recovery", "",
            "For each task the tables give, below the last layer and with K at most 16, the smallest K that suppresses at least three quarters (else the largest share).",
            "The four best candidates are tried on the built-in prompt set: valid flips, and how many of them an encoder-projected perturbation at the last prompt",
            "position brings back (100 steps, rate 0.1, budget 20; for probes the exact best perturbation of that norm). The candidate with the most recovered flips goes to `demo.json`.", "",
            "| task | behaviour | layer | K | clamp | base right | valid flips | recovered | mean norm | mean drift |", "|---|---|---|---|---|---|---|---|---|---|"]
    for name, cells, task in plans:
        tried = []
        for layer, k, clamp in candidates(cells, range(len(saes) - 1))[:4]:
            s = saes[layer]
            if clamp.startswith("floor"):
                contrast, declined_mean = refusal_contrast(model, s, layer, tok)
                mode, value = "floor", floor_value(contrast, declined_mean, k, int(clamp[6:-1]))
                scores = contrast[None].expand(len(task.rows), -1)
            else:
                mode, value = CLAMPS[clamp]
                pooled = name == "probe"
                scores = attribution(model, s, task.batch, layer, task.objective_at(layer) if pooled else task.objective, pooled)
            chosen = top_features(scores, k)
            edit = clamp_edit(s, layer, chosen, mode, value, task.batch.last if mode == "floor" else None)
            with torch.no_grad():
                if name == "probe":
                    base, gone = task.present_at(model, layer), ~task.present_at(model, layer, edit)
                else:
                    base = task.present(model)
                    gone = task.flipped(model, edit) if name == "refusal" else ~task.present(model, edit)
            flips = (base & gone).nonzero().flatten().tolist()
            runs = {}
            for row in flips:
                if name == "probe":
                    runs[row] = probe_recover(model, s, layer, task, row, chosen[row], edit)
                else:
                    runs[row] = recover(model, s, layer, task, row, chosen[row], mode, value)
            good = [r for r in flips if runs[r][0]]
            tried.append((len(good), layer, k, clamp, mode, value, scores, chosen, int(base.sum()), flips, good, runs))
            mean = lambda i: sum(v[i] for v in runs.values()) / max(1, len(runs))
            behaviour = getattr(task, "behaviour", "right")
            out.append(f"| {name} | {behaviour} | {layer} | {k} | {mode}{'' if clamp == 'ablate' else ':%g' % value} | {int(base.sum())} of {len(task.rows)} | {len(flips)} | {len(good)} | "
                       f"{mean(1):.2f} | {mean(2):.4f} |")
            print(out[-1], flush=True)
        best = max(tried, key=lambda t: t[0])
        _, layer, k, clamp, mode, value, scores, chosen, _, flips, good, _ = best
        row = (good or flips or [0])[0]
        order = scores[row].argsort(descending=True)[:k]
        demo.append({"task": name, "behaviour": getattr(task, "behaviour", "right"), "prompt": task.rows[row]["id"], "layer": layer,
                     "hook": f"blocks.{layer}.hook_resid_post", "features": [int(f) for f in order if chosen[row, f]],
                     "mode": "ablate" if clamp == "ablate" else f"{mode}:{value:g}", "positions": "last" if mode == "floor" else "all", "objective": task.objective_name,
                     "ranking": "difference of means" if mode == "floor" else "attribution",
                     "flips": [task.rows[r]["id"] for r in flips], "recovered": [task.rows[r]["id"] for r in good]})
        demo[-1]["default"] = not (name == "refusal" and demo[-1]["behaviour"] == "declines")
    (gpt2.HERE / "demo.json").write_text(json.dumps({"tasks": demo}, indent=2) + "\n")


def probe_recover(model, s, layer, task, row, chosen, edit):
    """Best perturbation of norm 20 at the last position: along the probe, minus what the clamped encoders see."""
    budget, w = 20.0, task.weights[f"probe.{layer}.weight"][task.classes[row]]
    A = s.W_enc[:, chosen]
    g = w - A @ torch.linalg.solve(A.T @ A + 1e-4 * torch.eye(A.shape[1]), A.T @ w)
    delta = budget * g / g.norm()
    with torch.no_grad():
        h = edit_rows(edit, layer, layer_input(model, task.batch, layer))
        last = h[row, task.batch.last[row]]
        drift = float((s.encode(last + delta)[chosen] - s.encode(last)[chosen]).norm())
        h[row, task.batch.last[row]] += delta
        z = task.logits(h, layer)[row]
        return bool(z[task.classes[row]] > 0), budget, drift


def edit_rows(edit, layer, x):
    return edit(layer, x).clone()


if __name__ == "__main__":
    main()
