#include "models/zip_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"

enum {
	END_SIZE = 22,
	LOCATOR_SIZE = 20,
	END64_SIZE = 56,
	ENTRY_SIZE = 46,
	LOCAL_SIZE = 30,
	MEMBER_LIMIT = 1 << 20,
	PEEK_LIMIT = 1 << 16,
};

struct member {
	char *name;
	bool deflated;
	uint32_t crc;
	size_t offset;		 /* of the local header */
	size_t begin;		 /* of the data */
	size_t packed, unpacked; /* bytes in the file; bytes when inflated */
	unsigned char *inflated; /* owned: all of it, or what zip_file_peek wanted */
	size_t have;		 /* bytes in `inflated` */
	bool checked;		 /* CRC found right */
};

struct zip_file {
	char *path;
	struct file_map map;
	size_t count;
	struct member *members;	       /* in order of their offsets */
	const struct member **by_name; /* sorted */
};

static uint64_t get(const unsigned char *p, int bytes)
{
	uint64_t value = 0;
	for (int i = bytes - 1; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

#define U16(p) ((uint32_t)get(p, 2))
#define U32(p) ((uint32_t)get(p, 4))
#define U64(p) get(p, 8)

/* Where the central directory is. */
struct directory {
	size_t offset, size, count;
};

static enum status truncated(const struct zip_file *zip, const char *what, struct error *error)
{
	return error_set(error, STATUS_INVALID, "'%s' is truncated or damaged: %s", zip->path, what);
}

/* The end record is the last thing in the file but for a comment of its own length. */
static const unsigned char *find_end(const struct file_map *map)
{
	if (map->size < END_SIZE)
		return NULL;
	size_t longest = map->size - END_SIZE < 0xffff ? map->size - END_SIZE : 0xffff;
	for (size_t comment = 0; comment <= longest; comment++) {
		const unsigned char *p = map->data + map->size - END_SIZE - comment;
		if (memcmp(p, "PK\5\6", 4) == 0 && U16(p + 20) == comment)
			return p;
	}
	return NULL;
}

static enum status find_directory(const struct zip_file *zip, struct directory *directory, struct error *error)
{
	const struct file_map *map = &zip->map;
	if (map->size < 4 || memcmp(map->data, "PK", 2) != 0)
		return error_set(error, STATUS_INVALID, "'%s' is not a zip file: it %s", zip->path,
				 map->size >= 20 && memcmp(map->data, "version https://git-", 20) == 0
					 ? "is a Git LFS pointer; fetch the file itself"
					 : "does not start with \"PK\"");
	const unsigned char *end = find_end(map);
	if (!end)
		return truncated(zip, "it has no zip end record", error);
	uint64_t disk = U16(end + 4), start_disk = U16(end + 6);
	uint64_t here = U16(end + 8), count = U16(end + 10), size = U32(end + 12), offset = U32(end + 16);
	size_t limit = (size_t)(end - map->data);
	if (limit >= LOCATOR_SIZE && memcmp(end - LOCATOR_SIZE, "PK\6\7", 4) == 0) {
		const unsigned char *locator = end - LOCATOR_SIZE;
		uint64_t at = U64(locator + 8);
		limit -= LOCATOR_SIZE;
		if (limit < END64_SIZE || at > limit - END64_SIZE || memcmp(map->data + at, "PK\6\6", 4) != 0)
			return truncated(zip, "its zip64 end record is not where its locator says", error);
		const unsigned char *end64 = map->data + at;
		limit = (size_t)at;
		disk = U32(end64 + 16), start_disk = U32(end64 + 20);
		here = U64(end64 + 24), count = U64(end64 + 32), size = U64(end64 + 40), offset = U64(end64 + 48);
	}
	if (disk || start_disk || here != count)
		return error_set(error, STATUS_INVALID, "'%s': unsupported zip: it is split over several disks",
				 zip->path);
	if (size > limit || offset > limit - size)
		return truncated(zip, "its zip directory lies outside the file", error);
	if (count > size / ENTRY_SIZE || count > MEMBER_LIMIT)
		return truncated(zip, "its zip directory is too short for the members it announces", error);
	*directory = (struct directory){(size_t)offset, (size_t)size, (size_t)count};
	return STATUS_OK;
}

/* Replaces fields that are all ones by the values of the zip64 extra field. */
static bool read_zip64(const unsigned char *extra, size_t n, uint64_t *unpacked, uint64_t *packed, uint64_t *offset)
{
	uint64_t *wanted[3];
	int count = 0;
	if (*unpacked == UINT32_MAX)
		wanted[count++] = unpacked;
	if (*packed == UINT32_MAX)
		wanted[count++] = packed;
	if (offset && *offset == UINT32_MAX)
		wanted[count++] = offset;
	if (count == 0)
		return true;
	while (n >= 4) {
		size_t length = U16(extra + 2);
		if (length > n - 4)
			return false;
		if (U16(extra) == 1) {
			if (length < 8 * (size_t)count)
				return false;
			for (int i = 0; i < count; i++)
				*wanted[i] = U64(extra + 4 + 8 * i);
			return true;
		}
		extra += 4 + length;
		n -= 4 + length;
	}
	return true; /* really 0xffffffff; the range checks decide */
}

static enum status check_local(const struct zip_file *zip, struct member *member, uint32_t method, struct error *error)
{
	const struct file_map *map = &zip->map;
	if (map->size < LOCAL_SIZE || member->offset > map->size - LOCAL_SIZE)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated or damaged: member \"%s\" begins at byte %zu, the file has %zu",
				 zip->path, member->name, member->offset, map->size);
	const unsigned char *local = map->data + member->offset;
	size_t name = U16(local + 26), extra = U16(local + 28);
	size_t room = map->size - member->offset - LOCAL_SIZE;
	if (memcmp(local, "PK\3\4", 4) != 0 || name + extra > room)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated or damaged: no local header of member \"%s\" at byte %zu",
				 zip->path, member->name, member->offset);
	if (name != strlen(member->name) || memcmp(local + LOCAL_SIZE, member->name, name) != 0 ||
	    U16(local + 8) != method)
		return error_set(error, STATUS_INVALID,
				 "'%s': damaged zip: the local header of member \"%s\" disagrees with the directory",
				 zip->path, member->name);
	if (U16(local + 6) & 1)
		return error_set(error, STATUS_INVALID, "'%s': unsupported zip: member \"%s\" is encrypted", zip->path,
				 member->name);
	/* Sizes stand in the local header too, unless bit 3 puts them behind the data. */
	uint64_t unpacked = U32(local + 22), packed = U32(local + 18);
	if (!read_zip64(local + LOCAL_SIZE + name, extra, &unpacked, &packed, NULL))
		return truncated(zip, "a zip64 field is cut short", error);
	if (!(U16(local + 6) & 8) && (unpacked != member->unpacked || packed != member->packed))
		return error_set(error, STATUS_INVALID,
				 "'%s': size mismatch: member \"%s\" has %llu bytes by its local header, %zu by the "
				 "directory",
				 zip->path, member->name, (unsigned long long)unpacked, member->unpacked);
	member->begin = member->offset + LOCAL_SIZE + name + extra;
	if (member->packed > map->size - member->begin)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated or damaged: member \"%s\" needs %zu bytes, %zu are there",
				 zip->path, member->name, member->packed, map->size - member->begin);
	return STATUS_OK;
}

static enum status read_member(const struct zip_file *zip, struct member *member, const unsigned char *entry,
			       struct error *error)
{
	size_t name = U16(entry + 28), extra = U16(entry + 30);
	member->name = mem_strndup((const char *)entry + ENTRY_SIZE, name);
	if (name == 0 || strlen(member->name) != name)
		return error_set(error, STATUS_INVALID, "'%s': damaged zip: a member's name is empty or holds a NUL",
				 zip->path);
	uint32_t flags = U16(entry + 8), method = U16(entry + 10);
	if (flags & 1)
		return error_set(error, STATUS_INVALID, "'%s': unsupported zip: member \"%s\" is encrypted", zip->path,
				 member->name);
	if (method != 0 && method != 8)
		return error_set(error, STATUS_INVALID,
				 "'%s': unsupported zip: member \"%s\" is compressed by method %u; 0 (stored) and 8 "
				 "(deflated) are read",
				 zip->path, member->name, method);
	uint64_t packed = U32(entry + 20), unpacked = U32(entry + 24), offset = U32(entry + 42);
	if (!read_zip64(entry + ENTRY_SIZE + name, extra, &unpacked, &packed, &offset))
		return truncated(zip, "a zip64 field is cut short", error);
	member->deflated = method == 8;
	member->crc = U32(entry + 16);
	/* Deflate cannot shrink more than 1032 times. */
	if (member->deflated ? unpacked / 1032 > packed : unpacked != packed)
		return error_set(error, STATUS_INVALID,
				 "'%s': size mismatch: member \"%s\" is said to hold %llu bytes in %llu", zip->path,
				 member->name, (unsigned long long)unpacked, (unsigned long long)packed);
	if (offset > zip->map.size)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated or damaged: member \"%s\" begins at byte %llu, the file has %zu",
				 zip->path, member->name, (unsigned long long)offset, zip->map.size);
	if (packed > zip->map.size)
		return error_set(
			error, STATUS_INVALID,
			"'%s': size mismatch: member \"%s\" is said to have %llu bytes, the whole file has %zu",
			zip->path, member->name, (unsigned long long)packed, zip->map.size);
	member->packed = (size_t)packed;
	member->unpacked = (size_t)unpacked;
	member->offset = (size_t)offset;
	return check_local(zip, member, method, error);
}

static int compare_members(const void *left, const void *right)
{
	const struct member *a = left, *b = right;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int compare_member_names(const void *left, const void *right)
{
	return strcmp((*(const struct member *const *)left)->name, (*(const struct member *const *)right)->name);
}

static enum status sort_names(struct zip_file *zip, struct error *error)
{
	zip->by_name = mem_alloc(zip->count, sizeof *zip->by_name);
	for (size_t i = 0; i < zip->count; i++)
		zip->by_name[i] = &zip->members[i];
	qsort(zip->by_name, zip->count, sizeof *zip->by_name, compare_member_names);
	for (size_t i = 1; i < zip->count; i++)
		if (compare_member_names(&zip->by_name[i - 1], &zip->by_name[i]) == 0)
			return error_set(error, STATUS_INVALID, "'%s': duplicate tensor: member \"%s\" is there twice",
					 zip->path, zip->by_name[i]->name);
	return STATUS_OK;
}

static enum status read_directory(struct zip_file *zip, struct error *error)
{
	struct directory directory = {0};
	enum status status = find_directory(zip, &directory, error);
	if (status)
		return status;
	zip->members = mem_alloc(directory.count, sizeof *zip->members);
	const unsigned char *at = zip->map.data + directory.offset;
	size_t left = directory.size;
	for (size_t i = 0; i < directory.count; i++) {
		if (left < ENTRY_SIZE || memcmp(at, "PK\1\2", 4) != 0)
			return truncated(zip, "its zip directory ends early", error);
		size_t size = ENTRY_SIZE + U16(at + 28) + U16(at + 30) + U16(at + 32);
		if (size > left)
			return truncated(zip, "its zip directory ends early", error);
		zip->count++;
		status = read_member(zip, &zip->members[i], at, error);
		if (status)
			return status;
		at += size;
		left -= size;
	}
	qsort(zip->members, zip->count, sizeof *zip->members, compare_members);
	status = sort_names(zip, error);
	if (status)
		return status;
	for (size_t i = 0; i < zip->count; i++) {
		const struct member *member = &zip->members[i];
		size_t limit = i + 1 < zip->count ? zip->members[i + 1].offset : directory.offset;
		if (member->begin + member->packed > limit)
			return error_set(error, STATUS_INVALID,
					 "'%s': damaged zip: member \"%s\" overlaps what follows it", zip->path,
					 member->name);
	}
	return STATUS_OK;
}

enum status zip_file_open(struct zip_file **out, const char *path, struct error *error)
{
	struct zip_file *zip = mem_alloc(1, sizeof *zip);
	zip->path = mem_strdup(path);
	enum status status = file_map_open(&zip->map, path, error);
	if (status == STATUS_OK)
		status = read_directory(zip, error);
	if (status)
		zip_file_close(&zip);
	*out = zip;
	return status;
}

void zip_file_close(struct zip_file **pointer)
{
	struct zip_file *zip = *pointer;
	*pointer = NULL;
	if (!zip)
		return;
	for (size_t i = 0; i < zip->count; i++) {
		free(zip->members[i].name);
		free(zip->members[i].inflated);
	}
	free(zip->members);
	free(zip->by_name);
	file_map_close(&zip->map);
	free(zip->path);
	free(zip);
}

const char *zip_file_path(const struct zip_file *zip)
{
	return zip->path;
}

size_t zip_file_count(const struct zip_file *zip)
{
	return zip->count;
}

const char *zip_file_name(const struct zip_file *zip, size_t member)
{
	return zip->members[member].name;
}

size_t zip_file_size(const struct zip_file *zip, size_t member)
{
	return zip->members[member].unpacked;
}

bool zip_file_find(const struct zip_file *zip, const char *name, size_t *member)
{
	const struct member key = {.name = (char *)(uintptr_t)name}, *probe = &key;
	const struct member **found =
		bsearch(&probe, zip->by_name, zip->count, sizeof *zip->by_name, compare_member_names);
	if (found)
		*member = (size_t)(*found - zip->members);
	return found != NULL;
}

/* Inflates the first `want` bytes. With `all`, the stream must end exactly there. */
static enum status inflate_member(const struct zip_file *zip, struct member *member, size_t want, bool all,
				  struct error *error)
{
	free(member->inflated);
	member->have = 0;
	member->inflated = malloc(want + 1);
	if (!member->inflated)
		return error_set(error, STATUS_FAILED, "no memory for the %zu bytes of member \"%s\" of '%s'", want,
				 member->name, zip->path);
	z_stream stream = {0};
	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		fatal("zlib cannot start");
	const unsigned char *from = zip->map.data + member->begin;
	size_t left = member->packed;
	int result = Z_OK;
	/* One byte more than expected is offered, to notice a stream that goes on. */
	size_t room = want + (all ? 1 : 0);
	while (result == Z_OK && member->have < room) {
		uInt in = left < 1 << 30 ? (uInt)left : 1 << 30;
		uInt out = room - member->have < 1 << 30 ? (uInt)(room - member->have) : 1 << 30;
		stream.next_in = (Bytef *)(uintptr_t)from;
		stream.avail_in = in;
		stream.next_out = member->inflated + member->have;
		stream.avail_out = out;
		result = inflate(&stream, Z_NO_FLUSH);
		from += in - stream.avail_in;
		left -= in - stream.avail_in;
		member->have += out - stream.avail_out;
	}
	inflateEnd(&stream);
	if (member->have > want || (all && result == Z_STREAM_END && (member->have < want || left > 0)))
		return error_set(error, STATUS_INVALID,
				 "'%s': size mismatch: member \"%s\" does not inflate to the %zu bytes it declares",
				 zip->path, member->name, want);
	if (all ? result != Z_STREAM_END : member->have < want)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated or damaged: member \"%s\" cannot be inflated (%zu of %zu bytes)",
				 zip->path, member->name, member->have, want);
	return STATUS_OK;
}

enum status zip_file_peek(struct zip_file *zip, size_t index, size_t want, const unsigned char **data, size_t *present,
			  struct error *error)
{
	struct member *member = &zip->members[index];
	if (want > PEEK_LIMIT)
		want = PEEK_LIMIT;
	if (want > member->unpacked)
		want = member->unpacked;
	*present = want;
	if (!member->deflated) {
		*data = zip->map.data + member->begin;
		return STATUS_OK;
	}
	enum status status = member->have >= want ? STATUS_OK : inflate_member(zip, member, want, false, error);
	*data = member->inflated;
	return status;
}

static uint32_t crc_of(const unsigned char *data, size_t size)
{
	return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, size);
}

enum status zip_file_data(struct zip_file *zip, size_t index, const unsigned char **data, struct error *error)
{
	struct member *member = &zip->members[index];
	if (member->deflated && !member->checked) {
		enum status status = inflate_member(zip, member, member->unpacked, true, error);
		if (status)
			return status;
	}
	*data = member->deflated ? member->inflated : zip->map.data + member->begin;
	if (!member->checked && crc_of(*data, member->unpacked) != member->crc)
		return error_set(error, STATUS_INVALID,
				 "'%s': bad checksum (CRC-32) of member \"%s\": the file is damaged", zip->path,
				 member->name);
	member->checked = true;
	return STATUS_OK;
}
