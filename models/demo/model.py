"""GPT-2 in plain PyTorch, with the tensor names and the arithmetic of Hugging Face's GPT2LMHeadModel."""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

HERE = pathlib.Path(__file__).parent

CONFIG = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05,
    "n_embd": 128, "n_head": 4, "n_inner": 512, "n_layer": 4, "n_positions": 256, "vocab_size": 1736, "bos_token_id": 0, "eos_token_id": 0,
    "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.06, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False, "tie_word_embeddings": True, "dtype": "float32", "use_cache": True,
}


INIT = 0.06       # GPT-2 uses 0.02 at width 768; narrow models learn sooner with about 0.7 / sqrt(width)


class Conv1D(nn.Module):
    """y = x W + b with W [in, out]."""

    def __init__(self, n_in, n_out, std):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * std)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["n_head"]
        self.c_attn = Conv1D(c["n_embd"], 3 * c["n_embd"], INIT)
        self.c_proj = Conv1D(c["n_embd"], c["n_embd"], INIT / (2 * c["n_layer"]) ** 0.5)

    def forward(self, x, mask):
        B, T, d = x.shape
        q, k, v = (t.view(B, T, self.heads, d // self.heads).transpose(1, 2) for t in self.c_attn(x).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, d))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c_fc = Conv1D(c["n_embd"], c["n_inner"], INIT)
        self.c_proj = Conv1D(c["n_inner"], c["n_embd"], INIT / (2 * c["n_layer"]) ** 0.5)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln_1 = nn.LayerNorm(c["n_embd"], eps=c["layer_norm_epsilon"])
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(c["n_embd"], eps=c["layer_norm_epsilon"])
        self.mlp = MLP(c)

    def forward(self, x, mask=None):
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config["vocab_size"], config["n_embd"])
        self.wpe = nn.Embedding(config["n_positions"], config["n_embd"])
        nn.init.normal_(self.wte.weight, std=INIT)
        nn.init.normal_(self.wpe.weight, std=0.01)
        self.h = nn.ModuleList(Block(config) for _ in range(config["n_layer"]))
        self.ln_f = nn.LayerNorm(config["n_embd"], eps=config["layer_norm_epsilon"])

    def embed(self, ids, positions=None):
        if positions is None:
            positions = torch.arange(ids.shape[1])
        return self.wte(ids) + self.wpe(positions)

    def from_block(self, x, first, mask=None, edit=None):
        """Final residual from the input x of block `first`; edit(layer, residual) may replace a block's output."""
        for layer in range(first, len(self.h)):
            x = self.h[layer](x, mask)
            if edit is not None:
                x = edit(layer, x)
        return x

    def logits(self, x):
        return self.ln_f(x) @ self.wte.weight.T

    def forward(self, ids, positions=None, mask=None, edit=None):
        return self.logits(self.from_block(self.embed(ids, positions), 0, mask, edit))


def save(model, folder=HERE):
    tensors = {"transformer." + name: p.detach().contiguous() for name, p in model.state_dict().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": 0, "eos_token_id": [0, 3], "do_sample": False, "max_new_tokens": 48}, indent=2) + "\n")


def load(folder=HERE):
    model = GPT2(json.loads((folder / "config.json").read_text()))
    model.load_state_dict({k.removeprefix("transformer."): v for k, v in load_file(str(folder / "model.safetensors")).items()})
    return model.eval().requires_grad_(False)
