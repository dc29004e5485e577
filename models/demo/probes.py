"""Fits the profession probes and writes probes.safetensors and probes.json.

One-vs-rest logistic regression per layer and class on the mean of the residual after the block over all
positions of the biography but the first (<|endoftext|>). The biographies name no profession.
"""

import json
import random

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import corpus
import model as gpt2
import sae

SEED = 40
RIDGE = 1e-3


def biographies(tok, seed, count, want_held):
    rng = random.Random(seed)
    items = [corpus.bio_fields(rng, want_held) for _ in range(count)]
    docs = [("bio", e.ids) for e in tok.encode_batch([text for text, _, _ in items])]
    return docs, torch.tensor([corpus.CLASSES.index(p) for _, _, p in items])


def pooled(model, docs):
    """Mean residual over positions >= 1: [layers][documents, d]."""
    layers, where = sae.residuals(model, docs)
    rest = where[:, 1] > 0
    lengths = torch.tensor([len(ids) - 1.0 for _, ids in docs])
    return [torch.zeros(len(docs), x.shape[1]).index_add_(0, where[rest, 0], x[rest]) / lengths[:, None] for x in layers]


def fit(x, y):
    mean, std = x.mean(0), x.std(0) + 1e-6
    xs, target = (x - mean) / std, F.one_hot(y, len(corpus.CLASSES)).float()
    weight, bias = torch.zeros(len(corpus.CLASSES), x.shape[1], requires_grad=True), torch.zeros(len(corpus.CLASSES), requires_grad=True)
    opt = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = F.binary_cross_entropy_with_logits(xs @ weight.T + bias, target) + RIDGE * weight.pow(2).sum()
        loss.backward()
        return loss
    opt.step(closure)
    weight, bias = weight.detach(), bias.detach()
    weight = weight / std                               # back to the residual's own scale
    return weight, bias - weight @ mean


def load(folder=gpt2.HERE):
    return load_file(str(folder / "probes.safetensors"))


def main():
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    tok = Tokenizer.from_file(str(gpt2.HERE / "tokenizer.json"))
    model = gpt2.load()
    docs, y = biographies(tok, SEED, 2400, False)
    test_docs, test_y = biographies(tok, SEED + 1, 800, True)
    train, test = pooled(model, docs), pooled(model, test_docs)
    tensors, layers = {}, []
    for layer, (a, b) in enumerate(zip(train, test)):
        weight, bias = fit(a, y)
        tensors[f"probe.{layer}.weight"], tensors[f"probe.{layer}.bias"] = weight.contiguous(), bias.contiguous()
        logits = b @ weight.T + bias
        layers.append({"layer": layer, "hook": f"blocks.{layer}.hook_resid_post",
                       "accuracy": round((logits.argmax(1) == test_y).float().mean().item(), 4),
                       "one_vs_rest_accuracy": round(((logits > 0) == F.one_hot(test_y, len(corpus.CLASSES)).bool()).float().mean().item(), 4)})
        print(layers[-1])
    save_file(tensors, str(gpt2.HERE / "probes.safetensors"))
    (gpt2.HERE / "probes.json").write_text(json.dumps(
        {"classes": corpus.CLASSES, "pooling": "mean", "positions": "all but position 0 (<|endoftext|>)", "kind": "one-vs-rest logistic: logit = weight . pooled + bias",
         "tensors": "probe.LAYER.weight [classes, d], probe.LAYER.bias [classes]", "layers": layers}, indent=2) + "\n")


if __name__ == "__main__":
    main()
