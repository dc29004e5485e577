/* Configurations of SAEs from strangers, beside good tensors under the names of several
 * formats. The first byte picks the layout of the folder. */
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/sae_reference.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { D = 2, F = 4 };

static const struct {
	const char *weights, *config;
	const char
		*names[12]; /* a '*' in front: [D, F]; '/': [F, D]; '-': [F]; '.': [D]; '1': one number; '+': [D, D] */
} layouts[] = {
	{"sae_weights.safetensors",
	 "cfg.json",
	 {"*W_enc", "/W_dec", "-b_enc", ".b_dec", "-threshold", "-b_gate", "-b_mag", "-r_mag", "-scaling_factor",
	  "1topk_threshold", "+W_skip"}},
	{"layers.2/sae.safetensors",
	 "layers.2/cfg.json",
	 {"/encoder.weight", "-encoder.bias", "/W_dec", ".b_dec", "+W_skip"}},
	{"checkpoints/final.safetensors",
	 "hyperparams.json",
	 {"/encoder.weight", "-encoder.bias", "*decoder.weight", ".decoder.bias"}},
	{"m/sae_weights.safetensors",
	 "m/config.json",
	 {"*W_E", "-b_E", "/W_D", ".b_D", "-log_jumprelu_threshold", "1dataset_average_activation_norm.a"}},
	{"g/params.safetensors",
	 "g/config.json",
	 {"*w_enc", "/w_dec", "-b_enc", ".b_dec", "-threshold", "+affine_skip_connection"}},
};

static void write_weights(const char *path, const char *const *names)
{
	static const float numbers[D * F] = {1, 2, -1, 0.5f, 0.25f, 3, -2, 1};
	char header[2000];
	size_t used = 0, offset = 0;
	for (int i = 0; i < 12 && names[i]; i++) {
		char kind = names[i][0];
		int64_t rows = kind == '/' || kind == '-' ? F : D, cols = kind == '*' ? F : D;
		bool matrix = strchr("*/+", kind) != NULL;
		size_t bytes = 4 * (size_t)(kind == '1' ? 1 : matrix ? rows * cols : rows);
		used += (size_t)snprintf(header + used, sizeof header - used, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[",
					 i ? ',' : '{', names[i] + 1);
		if (kind != '1')
			used += (size_t)snprintf(header + used, sizeof header - used, matrix ? "%d,%d" : "%d",
						 (int)rows, (int)cols);
		used += (size_t)snprintf(header + used, sizeof header - used, "],\"data_offsets\":[%zu,%zu]}", offset,
					 offset + bytes);
		offset += bytes;
	}
	used += (size_t)snprintf(header + used, sizeof header - used, "}");
	char *file = mem_alloc(8 + used + offset, 1);
	file[0] = (char)(used & 0xff);
	file[1] = (char)(used >> 8);
	memcpy(file + 8, header, used);
	for (size_t i = 0; i < offset; i += 4)
		memcpy(file + 8 + used + i, &numbers[i / 4 % (D * F)], 4);
	struct error error;
	if (file_write(path, file, 8 + used + offset, &error))
		fatal("%s", error.text);
	free(file);
}

static char *folders[sizeof layouts / sizeof layouts[0]];

static char root[] = "/tmp/rebound-fuzz-XXXXXX";

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
	(void)info, (void)type, (void)ftw;
	return remove(path);
}

static void remove_folders(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
		free(folders[i]);
}

/* root/<i>/ with its weights; the configuration is a link to the input. */
static void make_folders(const char *input)
{
	struct error error;
	if (!mkdtemp(root))
		fatal("cannot make a temporary folder");
	atexit(remove_folders);
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
		char *weights = mem_printf("%s/%zu/%s", root, i, layouts[i].weights);
		char *config = mem_printf("%s/%zu/%s", root, i, layouts[i].config);
		char *parent = mem_strndup(weights, (size_t)(path_base(weights) - weights));
		if (file_make_folder(parent, &error))
			fatal("%s", error.text);
		write_weights(weights, layouts[i].names);
		if (symlink(input, config) != 0)
			fatal("cannot make a link");
		folders[i] = mem_strndup(config, (size_t)(path_base(config) - config));
		free(parent);
		free(weights);
		free(config);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const char *input = memory_file(data + 1, size - 1);
	if (!folders[0])
		make_folders(input);
	struct error error = {0};
	struct sae_spec spec;
	enum status status = sae_file_open(&spec, folders[data[0] % ARRAY_LEN(layouts)], NULL, &error);
	if (status == STATUS_OK)
		status = sae_file_load(&spec, NULL, &error);
	if (status) {
		if (!error.text[0])
			abort();
		sae_spec_done(&spec);
		return 0;
	}
	static const double x[D] = {1, -0.5};
	double z[F], y[D], dx[D];
	if (spec.F != F || spec.d_in != D || spec.d_out != D)
		abort();
	sae_reference_encode(&spec, 1, x, z, NULL);
	sae_reference_decode(&spec, 1, x, z, y);
	sae_reference_recon_back(&spec, 1, x, x, dx);
	sae_spec_done(&spec);
	return 0;
}
