#include "models/sentencepiece.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sentencepiece_internal.h"

/* ---- protobuf ------------------------------------------------------------ */

/* A message that is being read, and the field it stands at. */
struct message {
	const unsigned char *data;
	size_t n, at;
	const char *what;
	uint32_t field, wire;
	uint64_t number;   /* wire 0, 1, 5 */
	const char *bytes; /* wire 2 */
	size_t length;
};

static bool read_varint(struct message *m, uint64_t *out)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (m->at >= m->n)
			return false;
		unsigned char byte = m->data[m->at++];
		if (shift < 63 || byte <= 1)
			value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
		else
			return false;
		if (!(byte & 0x80)) {
			*out = value;
			return true;
		}
	}
	return false;
}

static bool read_fixed(struct message *m, size_t bytes)
{
	if (m->n - m->at < bytes)
		return false;
	m->number = 0;
	for (size_t i = 0; i < bytes; i++)
		m->number |= (uint64_t)m->data[m->at++] << (8 * i);
	return true;
}

/* Steps to the next field; *more is false at the end. */
static enum status next_field(struct message *m, bool *more, struct error *error)
{
	*more = m->at < m->n;
	if (!*more)
		return STATUS_OK;
	size_t start = m->at;
	uint64_t key = 0;
	bool ok = read_varint(m, &key) && key >> 3 > 0 && key >> 3 <= 536870911;
	m->field = ok ? (uint32_t)(key >> 3) : 0;
	m->wire = (uint32_t)(key & 7);
	if (ok && m->wire == 0) {
		ok = read_varint(m, &m->number);
	} else if (ok && (m->wire == 1 || m->wire == 5)) {
		ok = read_fixed(m, m->wire == 1 ? 8 : 4);
	} else if (ok && m->wire == 2) {
		uint64_t length;
		ok = read_varint(m, &length) && length <= m->n - m->at;
		if (ok) {
			m->bytes = (const char *)m->data + m->at;
			m->length = (size_t)length;
			m->at += m->length;
		}
	} else {
		ok = false;
	}
	if (ok)
		return STATUS_OK;
	return error_set(error, STATUS_INVALID,
			 "%s is not a SentencePiece model: broken field at byte %zu of a message of %zu bytes", m->what,
			 start, m->n);
}

static struct message submessage(const struct message *m)
{
	return (struct message){.data = (const unsigned char *)m->bytes, .n = m->length, .what = m->what};
}

static enum status expect_wire(const struct message *m, uint32_t wire, const char *name, struct error *error)
{
	if (m->wire == wire)
		return STATUS_OK;
	return error_set(error, STATUS_INVALID,
			 "%s is not a SentencePiece model: the field %s has wire type %u, expected %u", m->what, name,
			 m->wire, wire);
}

/* ---- the three messages -------------------------------------------------- */

/* What is needed of them until all are read. */
struct reading {
	struct sentencepiece *model;
	char *bos_piece, *eos_piece;
	int64_t model_type;
	bool suffix_whitespace;
};

static enum status read_piece(struct sentencepiece *model, struct message m, struct error *error)
{
	const char *name = "";
	size_t name_length = 0;
	float score = 0;
	uint64_t kind = PIECE_NORMAL;
	for (bool more;;) {
		enum status status = next_field(&m, &more, error);
		if (!status && more && m.field == 1) {
			status = expect_wire(&m, 2, "piece", error);
			name = m.bytes;
			name_length = m.length;
		} else if (!status && more && m.field == 2) {
			uint32_t bits = (uint32_t)m.number;
			status = expect_wire(&m, 5, "score", error);
			memcpy(&score, &bits, sizeof score);
		} else if (!status && more && m.field == 3) {
			status = expect_wire(&m, 0, "type", error);
			kind = m.number;
		}
		if (status)
			return status;
		if (!more)
			break;
	}
	size_t id = model->count;
	if (name_length == 0 || !utf8_valid(name, name_length))
		return error_set(error, STATUS_INVALID, "%s: piece %zu is empty or not valid UTF-8", m.what, id);
	if (kind < PIECE_NORMAL || kind > PIECE_BYTE)
		return error_set(error, STATUS_INVALID, "%s: piece %zu has the unknown type %llu", m.what, id,
				 (unsigned long long)kind);
	if (!isfinite(score))
		return error_set(error, STATUS_INVALID, "%s: the score of piece %zu is not finite", m.what, id);
	bool reserved = kind == PIECE_UNKNOWN || kind == PIECE_CONTROL || kind == PIECE_BYTE;
	if (id >= INT32_MAX ||
	    !vocab_add(reserved ? &model->reserved : &model->normal, (int32_t)id, name, name_length)) {
		char shown[80];
		text_printable(shown, sizeof shown, name, name_length);
		return error_set(error, STATUS_INVALID, "%s: piece %zu, \"%s\", is there twice", m.what, id, shown);
	}
	mem_reserve((void **)&model->kinds, &model->kind_capacity, id + 1, sizeof *model->kinds);
	mem_reserve((void **)&model->scores, &model->score_capacity, id + 1, sizeof *model->scores);
	model->kinds[id] = (enum piece_kind)kind;
	model->scores[id] = score;
	model->count++;
	return STATUS_OK;
}

static void take_string(char **out, const struct message *m)
{
	free(*out);
	*out = mem_strndup(m->bytes, m->length);
}

static enum status read_trainer(struct reading *r, struct message m, struct error *error)
{
	for (bool more;;) {
		enum status status = next_field(&m, &more, error);
		if (status || !more)
			return status;
		switch (m.field) {
		case 3:
			status = expect_wire(&m, 0, "model_type", error);
			r->model_type = (int64_t)m.number;
			break;
		case 24:
			status = expect_wire(&m, 0, "treat_whitespace_as_suffix", error);
			r->suffix_whitespace = m.number != 0;
			break;
		case 35:
			status = expect_wire(&m, 0, "byte_fallback", error);
			r->model->byte_fallback = m.number != 0;
			break;
		case 44:
			status = expect_wire(&m, 2, "unk_surface", error);
			if (!status && !utf8_valid(m.bytes, m.length))
				status = error_set(error, STATUS_INVALID, "%s: unk_surface is not valid UTF-8", m.what);
			if (!status)
				take_string(&r->model->unknown_text, &m);
			break;
		case 46:
		case 47:
			status = expect_wire(&m, 2, m.field == 46 ? "bos_piece" : "eos_piece", error);
			if (!status)
				take_string(m.field == 46 ? &r->bos_piece : &r->eos_piece, &m);
			break;
		default:
			break;
		}
		if (status)
			return status;
	}
}

static enum status read_normalizer(struct sentencepiece *model, struct message m, struct error *error)
{
	for (bool more;;) {
		enum status status = next_field(&m, &more, error);
		if (status || !more)
			return status;
		switch (m.field) {
		case 2:
			status = expect_wire(&m, 2, "precompiled_charsmap", error);
			if (!status)
				status = sentencepiece_load_map(model, m.bytes, m.length, m.what, error);
			break;
		case 3:
			status = expect_wire(&m, 0, "add_dummy_prefix", error);
			model->add_dummy_prefix = m.number != 0;
			break;
		case 4:
			status = expect_wire(&m, 0, "remove_extra_whitespaces", error);
			model->remove_extra_whitespaces = m.number != 0;
			break;
		case 5:
			status = expect_wire(&m, 0, "escape_whitespaces", error);
			model->escape_whitespaces = m.number != 0;
			break;
		default:
			break;
		}
		if (status)
			return status;
	}
}

/* A denormalizer changes decoded text only if it has a character map. */
static enum status check_denormalizer(struct message m, struct error *error)
{
	for (bool more;;) {
		enum status status = next_field(&m, &more, error);
		if (status || !more)
			return status;
		if (m.field == 2 && m.wire == 2 && m.length > 0)
			return error_set(error, STATUS_INVALID, "%s: the denormalizer is not implemented", m.what);
	}
}

static enum status read_model(struct reading *r, struct message m, struct error *error)
{
	static const char *const names[] = {"", "pieces", "trainer_spec", "normalizer_spec", "", "denormalizer_spec"};
	for (bool more;;) {
		enum status status = next_field(&m, &more, error);
		if (status || !more)
			return status;
		if (m.field > 5 || m.field == 4)
			continue;
		status = expect_wire(&m, 2, names[m.field], error);
		if (status)
			return status;
		if (m.field == 1)
			status = read_piece(r->model, submessage(&m), error);
		else if (m.field == 2)
			status = read_trainer(r, submessage(&m), error);
		else if (m.field == 3)
			status = read_normalizer(r->model, submessage(&m), error);
		else
			status = check_denormalizer(submessage(&m), error);
		if (status)
			return status;
	}
}

/* ---- tables -------------------------------------------------------------- */

static int32_t control_piece(const struct sentencepiece *model, const char *name)
{
	int32_t id = sentencepiece_find(model, name, strlen(name));
	return id >= 0 && model->kinds[id] == PIECE_CONTROL ? id : -1;
}

static enum status build_tables(struct reading *r, const char *what, struct error *error)
{
	struct sentencepiece *model = r->model;
	if (r->model_type != 1 && r->model_type != 2)
		return error_set(error, STATUS_INVALID,
				 "%s: SentencePiece model type %lld is not implemented, only unigram (1) and BPE (2)",
				 what, (long long)r->model_type);
	if (r->suffix_whitespace)
		return error_set(error, STATUS_INVALID, "%s: treat_whitespace_as_suffix is not implemented", what);
	model->unigram = r->model_type == 1;
	bool any_normal = false;
	for (size_t i = 0; i < model->count; i++) {
		const char *s;
		size_t n;
		enum piece_kind kind = model->kinds[i];
		float score = model->scores[i];
		bool text = vocab_get(&model->normal, (int32_t)i, &s, &n);
		if (kind == PIECE_NORMAL) {
			model->least_score = any_normal && model->least_score < score ? model->least_score : score;
			model->most_score = any_normal && model->most_score > score ? model->most_score : score;
			any_normal = true;
		}
		if (kind == PIECE_USER_DEFINED && text)
			trie_add(&model->user_defined, s, n, (int32_t)i);
		if (model->unigram && text && kind != PIECE_UNUSED)
			trie_add(&model->candidates, s, n, (int32_t)i);
		if (kind == PIECE_UNUSED)
			model->has_unused = true;
		if (kind == PIECE_UNKNOWN && model->unknown >= 0)
			return error_set(error, STATUS_INVALID, "%s: there are two unknown pieces", what);
		if (kind == PIECE_UNKNOWN)
			model->unknown = (int32_t)i;
	}
	if (model->unknown < 0)
		return error_set(error, STATUS_INVALID, "%s: there is no unknown piece", what);
	for (unsigned i = 0; i < 256; i++) {
		char name[8];
		snprintf(name, sizeof name, "<0x%02X>", i);
		int32_t id = vocab_find(&model->reserved, name, 6);
		model->byte_ids[i] = id;
		if (model->byte_fallback && (id < 0 || model->kinds[id] != PIECE_BYTE))
			return error_set(error, STATUS_INVALID,
					 "%s: byte fallback is on, but the byte piece %s is missing", what, name);
	}
	model->bos = control_piece(model, r->bos_piece ? r->bos_piece : "<s>");
	model->eos = control_piece(model, r->eos_piece ? r->eos_piece : "</s>");
	if (!model->unknown_text)
		model->unknown_text = mem_strdup(" \xE2\x81\x87 ");
	return STATUS_OK;
}

enum status sentencepiece_parse(struct sentencepiece **out, const void *data, size_t n, const char *what,
				struct error *error)
{
	struct sentencepiece *model = mem_alloc(1, sizeof *model);
	model->unknown = model->bos = model->eos = -1;
	model->add_dummy_prefix = model->remove_extra_whitespaces = model->escape_whitespaces = true;
	struct reading r = {.model = model, .model_type = 1};
	enum status status = read_model(&r, (struct message){.data = data, .n = n, .what = what}, error);
	if (!status)
		status = build_tables(&r, what, error);
	free(r.bos_piece);
	free(r.eos_piece);
	if (status)
		sentencepiece_destroy(&model);
	*out = model;
	return status;
}

void sentencepiece_destroy(struct sentencepiece **model)
{
	struct sentencepiece *m = *model;
	if (!m)
		return;
	free(m->kinds);
	free(m->scores);
	vocab_done(&m->normal);
	vocab_done(&m->reserved);
	trie_done(&m->user_defined);
	trie_done(&m->candidates);
	free(m->unknown_text);
	free(m->map);
	free(m->map_strings);
	free(m);
	*model = NULL;
}

size_t sentencepiece_size(const struct sentencepiece *model)
{
	return model->count;
}

enum piece_kind sentencepiece_kind(const struct sentencepiece *model, int32_t id)
{
	return model->kinds[id];
}

bool sentencepiece_name(const struct sentencepiece *model, int32_t id, const char **s, size_t *n)
{
	return vocab_get(&model->normal, id, s, n) || vocab_get(&model->reserved, id, s, n);
}

int32_t sentencepiece_find(const struct sentencepiece *model, const char *s, size_t n)
{
	int32_t id = vocab_find(&model->reserved, s, n);
	return id >= 0 ? id : vocab_find(&model->normal, s, n);
}

int32_t sentencepiece_bos(const struct sentencepiece *model)
{
	return model->bos;
}

int32_t sentencepiece_eos(const struct sentencepiece *model)
{
	return model->eos;
}

bool sentencepiece_is_unigram(const struct sentencepiece *model)
{
	return model->unigram;
}

const char *sentencepiece_unknown_text(const struct sentencepiece *model)
{
	return model->unknown_text;
}

bool sentencepiece_drops_space(const struct sentencepiece *model)
{
	return model->add_dummy_prefix || model->remove_extra_whitespaces;
}

bool sentencepiece_removes_spaces(const struct sentencepiece *model)
{
	return model->remove_extra_whitespaces;
}
