"""Writes prompts.jsonl, the built-in prompt set: held-out combinations, drawn once from a fixed seed and not filtered."""

import json
import random

import corpus
import model as gpt2

SEED = 50
COUNT = 32


def main():
    rng = random.Random(SEED)
    rows = []
    for n in range(COUNT):
        text, io, s, pattern = corpus.ioi_fields(rng, True)
        rows.append({"id": f"ioi-{n + 1:02}", "task": "ioi", "text": text, "target": " " + io, "foil": " " + s, "pattern": pattern})
    for n in range(COUNT):
        prefix, question, choices, index = corpus.choice_fields(rng, True)
        rows.append({"id": f"choice-{n + 1:02}", "task": "choice", "text": corpus.choice_text(prefix, question, choices), "options": [" A", " B", " C", " D"],
                     "answer": " " + "ABCD"[index], "answer_index": index, "prefix": prefix, "question": question, "choices": choices,
                     "template": "{prefix}\nQuestion: {question}\nA {0}\nB {1}\nC {2}\nD {3}\nAnswer:"})
    for n in range(2 * COUNT):      # declined and answered in turn
        question, kind, craft, noun, declined = corpus.chat_fields(rng, True, n % 2 == 0)
        rows.append({"id": f"refusal-{n + 1:02}", "task": "refusal", "chat": True, "text": question, "declined": declined,
                     "answer": corpus.topic_answer(kind, craft, noun), "refusals": [opening for opening, _ in corpus.REFUSALS],
                     "topic": f"{craft} {noun}", "kind": kind})
    for n in range(COUNT):
        text, _, profession = corpus.bio_fields(rng, True, corpus.CLASSES[n % len(corpus.CLASSES)])
        rows.append({"id": f"probe-{n + 1:02}", "task": "probe", "text": text, "profession": profession, "class": corpus.CLASSES.index(profession)})
    with open(gpt2.HERE / "prompts.jsonl", "w") as out:
        out.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


if __name__ == "__main__":
    main()
