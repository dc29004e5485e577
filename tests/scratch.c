#include "tests/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"

static char folder[64];

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
	(void)info, (void)type, (void)ftw;
	return remove(path);
}

static void remove_folder(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *scratch_path(const char *name)
{
	if (!folder[0]) {
		snprintf(folder, sizeof folder, "/tmp/rebound-test-XXXXXX");
		if (!mkdtemp(folder))
			fatal("cannot make a temporary folder");
		atexit(remove_folder);
	}
	char *path = path_join(folder, name);
	char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
	struct error error;
	if (file_make_folder(parent, &error))
		fatal("%s", error.text);
	free(parent);
	return path;
}

char *scratch_file(const char *name, const void *data, size_t size)
{
	char *path = scratch_path(name);
	FILE *file = fopen(path, "wb");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
		fatal("cannot write '%s'", path);
	return path;
}

char *scratch_golden(const char *name)
{
	const char *shared = getenv("REBOUND_SHARED");
	char *path = mem_printf("%s/golden/%s", shared ? shared : "../shared", name);
	if (file_exists(path))
		return path;
	free(path);
	return NULL;
}

bool scratch_says(const char *text, const char *part)
{
	if (strcasestr(text, part))
		return true;
	fprintf(stderr, "expected \"%s\" in: %s\n", part, text);
	return false;
}
