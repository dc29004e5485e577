/* Readers of .safetensors files and of model folders made of them.
 *
 * Format: https://github.com/huggingface/safetensors, rules in the header of
 * safetensors.c. A file is mapped and only its header is read at opening; views
 * point into the mapping and live until it is closed. Opening and closing block on
 * the disk; everything else only reads and may be called from any thread.
 */
#ifndef REBOUND_SAFETENSORS_H
#define REBOUND_SAFETENSORS_H

#include "models/array_view.h"

struct safetensors;

/* One tensor of a file. Data are little-endian and in C order. */
struct st_tensor {
	const char *name; /* as in the file: may hold control characters, show it through error_set or text_printable */
	enum st_dtype dtype;
	int rank; /* 0: one element */
	int64_t shape[ARRAY_MAX_RANK];
	size_t offset, bytes;	   /* of the first byte in the file; length */
	const unsigned char *data; /* in the mapping; may be unaligned */
};

/* Fails with STATUS_INVALID, and a sentence that says which rule is broken, on
 * anything that the format does not allow. */
enum status WARN_UNUSED safetensors_open(struct safetensors **out, const char *path, struct error *error);
void safetensors_close(struct safetensors **file);

const char *safetensors_path(const struct safetensors *file);
/* Tensors by number, in order of their data. */
size_t safetensors_count(const struct safetensors *file);
const struct st_tensor *safetensors_at(const struct safetensors *file, size_t i);
/* NULL if there is none of that name. */
const struct st_tensor *safetensors_find(const struct safetensors *file, const char *name);
/* A value of __metadata__, or NULL. */
const char *safetensors_metadata(const struct safetensors *file, const char *key);
size_t safetensors_metadata_count(const struct safetensors *file);
/* The i-th pair in the order of the file; borrowed. */
void safetensors_metadata_at(const struct safetensors *file, size_t i, const char **key, const char **value);

size_t st_tensor_count(const struct st_tensor *tensor);
struct array_view st_tensor_view(const struct st_tensor *tensor);
/* Copies rows [first, first + rows) as float32: a row is one index of the first
 * axis (a vector's rows are its single elements). `out` holds rows x (count /
 * shape[0]) numbers. An error if the rows do not exist or the dtype is not F32,
 * F16, BF16 or F64. `path` names the file in the sentence. */
enum status WARN_UNUSED st_tensor_copy_rows(const struct st_tensor *tensor, int64_t first, int64_t rows, float *out,
					    const char *path, struct error *error);

/* The weights of a model folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. Opening reads every shard's header (not its
 * data) and checks that each mapped tensor is in its shard and none in two. */
struct weight_files;

enum status WARN_UNUSED weight_files_open(struct weight_files **out, const char *folder, struct error *error);
void weight_files_close(struct weight_files **files);

int weight_files_shards(const struct weight_files *files);
const struct safetensors *weight_files_shard(const struct weight_files *files, int shard);
/* All tensors of all shards. */
size_t weight_files_count(const struct weight_files *files);
/* The tensor and the shard it is in (`shard` may be NULL), or NULL. */
const struct st_tensor *weight_files_find(const struct weight_files *files, const char *name, int *shard);
/* By number, sorted by name. */
const struct st_tensor *weight_files_at(const struct weight_files *files, size_t i, int *shard);
/* Bytes of tensor data in all shards. */
size_t weight_files_bytes(const struct weight_files *files);

#endif
