"""Trains the byte-level BPE of the built-in model and writes tokenizer.json and tokenizer_config.json.

The words that tasks answer with have to be single tokens. BPE merges by frequency, so these words are
put into the training text often enough to be merged first; what is still split afterwards is an error.
"""

import collections
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import corpus

HERE = pathlib.Path(__file__).parent
VOCAB_SIZE = 1736
SEED = 11
BOOST = 300

CHAT_TEMPLATE = ("{{ bos_token }}{% for message in messages %}"
                 "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}<|end|>"
                 "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}"
                 "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")


def train():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=corpus.SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    rng = random.Random(SEED)
    texts = []
    for _ in range(20000):
        text = corpus.plain(corpus.document(rng))
        for special in corpus.SPECIALS:
            text = text.replace(special, "\n")
        texts.append(text)
    texts += [" " + word for word in corpus.single_token_words()] * BOOST
    tok.train_from_iterator(texts, trainer)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in corpus.SPECIALS])
    bos = tok.token_to_id(corpus.BOS)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{corpus.BOS} $A", pair=f"{corpus.BOS} $A {corpus.BOS} $B", special_tokens=[(corpus.BOS, bos)])
    return tok


def check(tok):
    split = [w for w in corpus.single_token_words() if len(tok.encode(" " + w, add_special_tokens=False).ids) != 1]
    if split:
        sys.exit(f"tokenizer.py: not single tokens: {' '.join(split)}")
    rng = random.Random(SEED + 1)
    longest = 0
    for _ in range(3000):           # segments one by one must give the tokens of the whole
        segments = corpus.document(rng)
        whole = tok.encode(corpus.plain(segments), add_special_tokens=False).ids
        parts = [i for text, _ in segments for i in tok.encode(text, add_special_tokens=False).ids]
        assert whole == parts, segments
        longest = max(longest, len(whole))
    print(f"vocabulary {tok.get_vocab_size()}, longest of 3000 documents {longest} tokens")


def main():
    tok = train()
    check(tok)
    tok.save(str(HERE / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": corpus.BOS, "eos_token": corpus.EOS, "add_prefix_space": False,
              "model_max_length": 256, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}
    (HERE / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
