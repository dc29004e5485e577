/* JSON from strangers: whatever the bytes are, the parser accepts them or says why not. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "compute/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	cJSON *value = NULL;
	if (json_parse(&value, (const char *)data, size, "input", &error)) {
		if (value || !error.text[0])
			abort();
		return 0;
	}
	int64_t integer = 0;
	double number = 0;
	const char *string = NULL;
	bool flag = false;
	/* Each may fail; what matters is that it returns. */
	enum status status = json_check_duplicates(value, "input", &error);
	status = status ? status : json_get_int(value, "a", -5, 1 << 30, &integer, "input", &error);
	status = status ? status : json_get_double(value, "b", &number, "input", &error);
	status = status ? status : json_get_string(value, "c", &string, "input", &error);
	status = status ? status : json_get_bool(value, "d", &flag, "input", &error);
	if (status && !error.text[0])
		abort();
	cJSON_Delete(value);
	return 0;
}
