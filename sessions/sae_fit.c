#include "sessions/sae_fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"

static int64_t first_row(const struct scene *scene)
{
	return scene->prompt > 1 ? 1 : 0;
}

/* Everything that follows from x, x_hat [rows, d] and z [rows, F]. */
static void compare(struct sae_fit *fit, const float *x, const float *x_hat, const float *z, size_t rows, size_t d,
		    size_t F)
{
	double missed = 0, variance = 0, active = 0, cosine = 0, dead = 0, along = 0, squares = 0;
	double *mean = mem_alloc(d, sizeof *mean);
	bool *alive = mem_alloc(F, sizeof *alive);
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < d; i++)
			mean[i] += (double)x[r * d + i] / (double)rows;
	for (size_t r = 0; r < rows; r++) {
		double dot = 0, xx = 0, yy = 0;
		for (size_t i = 0; i < d; i++) {
			double a = (double)x[r * d + i], b = (double)x_hat[r * d + i];
			missed += (a - b) * (a - b);
			variance += (a - mean[i]) * (a - mean[i]);
			dot += a * b;
			xx += a * a;
			yy += b * b;
		}
		along += dot;
		squares += xx;
		cosine += xx > 0 && yy > 0 ? dot / sqrt(xx * yy) : 0;
		for (size_t f = 0; f < F; f++)
			if (z[r * F + f] != 0) {
				active++;
				alive[f] = true;
			}
	}
	for (size_t f = 0; f < F; f++)
		dead += !alive[f];
	*fit = (struct sae_fit){
		.fvu = variance > 0 ? missed / variance : 0,
		.l0 = active / (double)rows,
		.cosine = cosine / (double)rows,
		.dead = dead / (double)F,
		.rows = (int64_t)rows,
		.scale = squares > 0 ? along / squares : 0,
	};
	free(mean);
	free(alive);
}

enum status sae_fit_measure(struct sae_fit *fit, struct scene *scene, int site, struct error *error)
{
	const struct sae *sae;
	enum status status = session_sae(&sae, scene->session, site, error);
	if (status)
		return status;
	int64_t first = first_row(scene), rows = scene->prompt - first;
	size_t d = (size_t)sae->d, F = (size_t)sae->features;
	const float *x = scene->sites[site].h + first * sae->d;
	float *z = mem_alloc((size_t)rows * F, sizeof *z);
	float *x_hat = mem_alloc((size_t)rows * d, sizeof *x_hat);
	status = encode_rows(sae, x, rows, z, x_hat, error);
	if (status == STATUS_OK)
		compare(fit, x, x_hat, z, (size_t)rows, d, F);
	free(z);
	free(x_hat);
	return status;
}

/* ---- loss recovered ---- */

/* The model above a hook, from a residual that is put there to how probable it makes the
 * prompt's next tokens. Logits of at most Q positions exist at a time. */
struct upper {
	struct session *session;
	int64_t T, first; /* what is predicted at positions [first, T - 1) counts */
	int64_t Q;
	struct kv_cache cache;
	struct pass pass;
	struct arena *arena;
	struct tensor reads, coefficients, term; /* tables of op_objective: one log-probability a row */
	struct tensor J, values, scratch, dlogits_unused;
	struct recorder *blocks, *readout;
};
enum { ROWS_AT_ONCE = 32 };

static void upper_done(struct upper *u)
{
	recorder_destroy(&u->blocks);
	recorder_destroy(&u->readout);
	if (u->pass.points)
		pass_done(&u->pass);
	if (u->cache.arena)
		kv_cache_done(&u->cache);
	arena_destroy(&u->arena);
}

static struct pass_config config_of(struct upper *u, int point)
{
	const struct model *model = &u->session->model;
	struct pass_config config = {
		.arch = &model->arch,
		.weights = &model->weights,
		.cache = &u->cache,
		.rows = u->T,
		.first_point = point,
		.last_point = 2 * model->arch.layers,
		.logits = LOGITS_ALL,
		.readouts = u->Q,
	};
	for (int r = 0; r < model->arch.n_ropes; r++)
		if (model->arch.ropes[r].inverse_long && u->T > model->arch.ropes[r].original_context)
			config.long_rope = true;
	return config;
}

static enum status make_tables(struct upper *u, struct error *error)
{
	int64_t V = u->session->model.arch.vocab;
	u->arena = arena_create(u->session->device, BUFFER_DEVICE, "the loss");
	arena_add(u->arena, &u->reads, DTYPE_U32, u->Q, 4);
	arena_add(u->arena, &u->coefficients, DTYPE_F32, 1, u->Q);
	arena_add(u->arena, &u->term, DTYPE_U32, 1, 8);
	arena_add(u->arena, &u->J, DTYPE_F32, 1, 1);
	arena_add(u->arena, &u->values, DTYPE_F32, 1, u->Q);
	arena_add(u->arena, &u->scratch, DTYPE_F32, u->Q, 2);
	arena_add(u->arena, &u->dlogits_unused, DTYPE_F32, u->Q, V);
	enum status status = arena_allocate(u->arena, error);
	float ones[ROWS_AT_ONCE];
	for (int i = 0; i < ROWS_AT_ONCE; i++)
		ones[i] = 1;
	const struct op_term term = {.kind = OP_TERM_LINEAR, .count = (uint32_t)u->Q, .weight = 1};
	if (status == STATUS_OK)
		status = tensor_write(u->coefficients, ones, error);
	if (status == STATUS_OK)
		status = tensor_write(u->term, &term, error);
	return status;
}

static enum status upper_create(struct upper *u, const struct pass_config *config, struct error *error)
{
	struct session *session = u->session;
	enum status status = kv_cache_create(&u->cache, session->device, config->arch, 1, u->T, error);
	if (status == STATUS_OK)
		status = pass_create(&u->pass, session->device, config, error);
	if (status == STATUS_OK)
		status = pass_set_rows(&u->pass, 0, 0, error);
	if (status == STATUS_OK)
		status = make_tables(u, error);
	if (status)
		return status;
	u->blocks = recorder_create(session->device, "above the splice");
	recorder_begin(u->blocks);
	pass_record_forward_to(&u->pass, u->blocks, config->last_point);
	status = recorder_finish(u->blocks, error);
	if (status)
		return status;
	const struct op_objective o = {
		.reads = u->reads, .coefficients = u->coefficients, .terms = u->term, .normalised = true};
	u->readout = recorder_create(session->device, "next tokens");
	recorder_begin(u->readout);
	pass_record_readout(&u->pass, u->readout);
	op_objective(u->readout, u->J, u->dlogits_unused, u->values, u->pass.logits, u->scratch, &o);
	return recorder_finish(u->readout, error);
}

/* Log-probabilities of the tokens behind positions [at, at + Q). */
static enum status read_rows(struct upper *u, int64_t at, float *values, struct error *error)
{
	uint32_t rows[ROWS_AT_ONCE];
	struct op_read reads[ROWS_AT_ONCE];
	for (int64_t i = 0; i < u->Q; i++) {
		rows[i] = (uint32_t)(at + i);
		reads[i] = (struct op_read){.kind = OP_READ_LOGPROB,
					    .row = (uint32_t)i,
					    .column = (uint32_t)u->session->prompt.ids[at + i + 1]};
	}
	uint64_t ticket;
	enum status status = tensor_write(u->pass.readout, rows, error);
	if (status == STATUS_OK)
		status = tensor_write(u->reads, reads, error);
	if (status == STATUS_OK)
		status = recorder_submit(u->readout, &ticket, error);
	return status ? status : tensor_read(u->values, values, error); /* which waits for it */
}

/* Cross-entropy of the prompt's next tokens with h [T, d] at the hook. */
static enum status cross_entropy(struct upper *u, const float *h, double *out, struct error *error)
{
	uint64_t ticket;
	enum status status = session_check_cancel(u->session, error);
	if (status == STATUS_OK)
		status = tensor_write(u->pass.start, h, error);
	if (status == STATUS_OK)
		status = recorder_submit(u->blocks, &ticket, error);
	int64_t end = u->T - 1;
	double sum = 0;
	for (int64_t at = u->first; at < end && status == STATUS_OK; at += u->Q) {
		/* The last rows reach back to where there are Q; what was counted is not counted again. */
		int64_t from = at + u->Q > end ? end - u->Q : at;
		float values[ROWS_AT_ONCE];
		status = read_rows(u, from, values, error);
		for (int64_t i = at - from; i < u->Q && status == STATUS_OK; i++)
			sum -= (double)values[i];
	}
	*out = sum / (double)(end - u->first);
	if (status == STATUS_OK && !isfinite(*out))
		status = error_set(error, STATUS_FAILED,
				   "the cross-entropy with the SAE spliced in is not finite: the weights, the SAE or "
				   "the device is at fault");
	return status;
}

enum status sae_fit_measure_loss(struct sae_fit *fit, struct scene *scene, int site, struct error *error)
{
	struct session *session = scene->session;
	const struct sae *sae;
	enum status status = session_sae(&sae, session, site, error);
	if (status)
		return status;
	struct upper u = {.session = session, .T = scene->prompt, .first = first_row(scene)};
	int64_t tokens = u.T - 1 - u.first, d = sae->d;
	fit->loss = (struct splice_loss){0};
	if (tokens < 1 || scene->clamped)
		return STATUS_OK;
	u.Q = tokens < ROWS_AT_ONCE ? tokens : ROWS_AT_ONCE;
	struct pass_config config = config_of(&u, session->sites[site].point);
	struct error no_room;
	if (pass_check_memory(session->device, &config, 1, u.T, &no_room))
		return STATUS_OK;
	struct splice_loss loss = {.tokens = tokens};
	const float *x = scene->sites[site].h;
	int64_t rows = u.T - u.first;
	float *z = mem_alloc((size_t)(rows * sae->features), sizeof *z);
	float *h = mem_alloc((size_t)(u.T * d), sizeof *h);
	status = upper_create(&u, &config, error);
	if (status == STATUS_OK)
		status = cross_entropy(&u, x, &loss.clean, error);
	if (status == STATUS_OK)
		status = cross_entropy(&u, h, &loss.zeroed, error);
	if (status == STATUS_OK) {
		memcpy(h, x, (size_t)(u.first * d) * sizeof *h);
		status = encode_rows(sae, x + u.first * d, rows, z, h + u.first * d, error);
	}
	if (status == STATUS_OK)
		status = cross_entropy(&u, h, &loss.spliced, error);
	if (status == STATUS_OK)
		fit->loss = loss;
	upper_done(&u);
	free(z);
	free(h);
	return status;
}

bool splice_loss_recovered(const struct splice_loss *loss, double *share)
{
	/* Below this the quotient is of two roundings. */
	const double least = 1e-3;
	if (loss->tokens == 0 || loss->zeroed - loss->clean < least)
		return false;
	*share = (loss->zeroed - loss->spliced) / (loss->zeroed - loss->clean);
	return true;
}

/* ---- what a poor fit resembles ---- */

/* A small error can lie just where the model reads. Short of a difference to speak of, the
 * quotient says nothing. */
static bool loses_what_is_read(const struct sae_fit *fit, double *recovered)
{
	return splice_loss_recovered(&fit->loss, recovered) && *recovered < 0.5 && fit->loss.tokens >= 8 &&
	       fit->loss.zeroed - fit->loss.clean > 0.5;
}

bool sae_fit_warning(char *out, size_t size, const struct sae_fit *fit, int64_t F)
{
	const char *like = NULL;
	double recovered;
	*out = '\0';
	if (fit->rows < 8)
		return false;
	if (fit->fvu <= SAE_FIT_POOR) {
		if (!loses_what_is_read(fit, &recovered))
			return false;
		snprintf(out, size, "loss recovered %.2f at fvu %.2f: %s", recovered, fit->fvu,
			 recovered < 0 ? "spliced in, it predicts worse than zeros, as where its output belongs at "
					 "another hook or lacks its bias"
				       : "what it leaves out is what the model reads here, as where it was trained on "
					 "other text or at another hook");
		return true;
	}
	if (fit->l0 < 0.5)
		like = "hardly a feature is active, as with a threshold or an input scale that is wrong";
	else if (fit->cosine > 0.7 && (fit->scale < 0.5 || fit->scale > 2))
		like = "the reconstruction points the right way at another length, as with an input scale or a "
		       "normalisation that is missing";
	else if (fit->l0 > 0.2 * (double)F)
		like = "a large part of the features is active, as with a TopK or JumpReLU encoder read as ReLU";
	else if (fit->fvu > 1)
		like = "it explains less than nothing, as where it was trained at another hook, layer or model";
	else
		like = "it explains little here: check hook and layer, and that the prompt begins as in training "
		       "(a BOS token)";
	snprintf(out, size, "fvu %.2f, L0 %.0f: %s", fit->fvu, fit->l0, like);
	return true;
}
