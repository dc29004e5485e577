/* Which files make an SAE, and where in a folder they are. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/sae_reader.h"

enum {
	LIST_DEPTH = 4,
	LIST_LIMIT = 4096,
};

/* Weights in a folder, and the configuration that belongs to them; in order of
 * preference. A row with a configuration applies only if that is there too. */
static const struct {
	const char *weights, *config;
} layouts[] = {
	{"sae_weights.safetensors", "cfg.json"},
	{"sae.safetensors", "cfg.json"},
	{"params.npz", NULL},
	{"params.safetensors", "config.json"},
	{"params.safetensors", NULL},
	{"sae_weights.safetensors", "config.json"},
	{"checkpoints/final.safetensors", "hyperparams.json"},
	{"final.safetensors", "../hyperparams.json"},
	{"ae.pt", "config.json"},
	{"ae.pt", NULL},
	{"sae_weights.safetensors", NULL},
	{"sae.safetensors", NULL},
};

/* A configuration given in place of its folder, or beside a file of another name. */
static const char *const configs[] = {"cfg.json", "config.json", "hyperparams.json", "../hyperparams.json"};

static bool exists_in(const char *folder, const char *name)
{
	char *path = path_join(folder, name);
	bool there = file_exists(path);
	free(path);
	return there;
}

/* The folder a file is in, "." if its path names none; a new string. */
static char *parent_of(const char *path)
{
	size_t n = (size_t)(path_base(path) - path);
	return n ? mem_strndup(path, n) : mem_strdup(".");
}

/* The row of `layouts` that a folder matches, or -1. */
static int find_layout(const char *folder)
{
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
		if (exists_in(folder, layouts[i].weights) &&
		    (!layouts[i].config || exists_in(folder, layouts[i].config)))
			return (int)i;
	return -1;
}

static int is_torch_file(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return n > 3 && strcmp(entry->d_name + n - 3, ".pt") == 0;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void add_path(struct sae_list *list, char *path)
{
	list->paths = mem_resize(list->paths, list->count + 1, sizeof *list->paths);
	list->paths[list->count++] = path;
}

/* All .pt files of a folder. */
static void list_torch_files(struct sae_list *list, const char *folder)
{
	struct dirent **names;
	int n = scandir(folder, &names, is_torch_file, versionsort);
	for (int i = 0; i < n; i++) {
		if (list->count < LIST_LIMIT)
			add_path(list, path_join(folder, names[i]->d_name));
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static void list_folder(struct sae_list *list, const char *folder, int depth)
{
	if (list->count >= LIST_LIMIT)
		return;
	if (find_layout(folder) >= 0) {
		add_path(list, mem_strdup(folder));
		return;
	}
	list_torch_files(list, folder);
	struct dirent **names;
	int n = depth > 0 ? scandir(folder, &names, is_visible, versionsort) : -1;
	for (int i = 0; i < n; i++) {
		char *inner = path_join(folder, names[i]->d_name);
		if (file_is_folder(inner))
			list_folder(list, inner, depth - 1);
		free(inner);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static enum status refuse_folder(const char *folder, const char *inner, struct error *error)
{
	return error_set(
		error, STATUS_INVALID,
		"'%s' holds no SAE: none of sae_weights.safetensors (with cfg.json), params.npz, "
		"params.safetensors, sae.safetensors, checkpoints/final.safetensors, ae.pt or another .pt file is "
		"there%s%s%s",
		folder, inner ? "; did you mean '" : "", inner ? inner : "", inner ? "'?" : "");
}

enum status sae_file_list(struct sae_list *list, const char *path, struct error *error)
{
	*list = (struct sae_list){0};
	if (!file_exists(path))
		return error_set(error, STATUS_INVALID, "cannot open SAE '%s': there is no such file or folder", path);
	if (!file_is_folder(path))
		add_path(list, mem_strdup(path));
	else
		list_folder(list, path, LIST_DEPTH);
	return list->count ? STATUS_OK : refuse_folder(path, NULL, error);
}

void sae_list_done(struct sae_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
	*list = (struct sae_list){0};
}

static enum status find_in_folder(struct sae_spec *s, const char *folder, struct error *error)
{
	int layout = find_layout(folder);
	if (layout >= 0) {
		const char *config = layouts[layout].config;
		s->weights_path = path_join(folder, layouts[layout].weights);
		s->config_path = config ? path_join(folder, config) : NULL;
		return STATUS_OK;
	}
	struct sae_list files = {0};
	list_torch_files(&files, folder);
	enum status status = STATUS_OK;
	if (files.count == 1) {
		s->weights_path = mem_strdup(files.paths[0]);
	} else if (files.count > 1) {
		status = error_set(error, STATUS_INVALID,
				   "'%s' holds several .pt files ('%s' and others); name the one to read", folder,
				   path_base(files.paths[0]));
	} else {
		list_folder(&files, folder, LIST_DEPTH);
		status = refuse_folder(folder, files.count ? files.paths[0] : NULL, error);
	}
	sae_list_done(&files);
	return status;
}

/* A weights file: its configuration is what a folder would pair it with, or one that
 * stands beside it. */
static void find_config(struct sae_spec *s)
{
	char *folder = parent_of(s->weights_path);
	const char *base = path_base(s->weights_path);
	for (size_t i = 0; i < ARRAY_LEN(layouts) && !s->config_path; i++)
		if (layouts[i].config && strcmp(base, layouts[i].weights) == 0 && exists_in(folder, layouts[i].config))
			s->config_path = path_join(folder, layouts[i].config);
	for (size_t i = 0; i < ARRAY_LEN(configs) && !s->config_path; i++)
		if (exists_in(folder, configs[i]))
			s->config_path = path_join(folder, configs[i]);
	free(folder);
}

enum status sae_find_files(struct sae_spec *s, struct error *error)
{
	if (file_is_folder(s->path))
		return find_in_folder(s, s->path, error);
	if (!file_exists(s->path))
		return error_set(error, STATUS_INVALID, "cannot open SAE '%s': there is no such file or folder",
				 s->path);
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		if (strcmp(path_base(s->path), configs[i]) != 0)
			continue;
		char *folder = parent_of(s->path);
		enum status status = find_in_folder(s, folder, error);
		free(folder);
		return status;
	}
	s->weights_path = mem_strdup(s->path);
	find_config(s);
	return STATUS_OK;
}
