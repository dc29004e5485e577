#include "tui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "0.81" -> ".81", "-0.81" -> "-.81" */
static void drop_zero(char *text)
{
	char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
	if (digits[0] == '0' && digits[1] == '.')
		memmove(digits, digits + 1, strlen(digits));
}

static const char *format(char out[FORMAT_SIZE], double value, const char *sign)
{
	double size = fabs(value);
	if (isnan(value))
		snprintf(out, FORMAT_SIZE, "·");
	else if (isinf(value))
		snprintf(out, FORMAT_SIZE, "%sinf", value < 0 ? "-" : sign);
	else if (value == 0)
		snprintf(out, FORMAT_SIZE, "0");
	else {
		int decimals = size < .00095  ? 5
			       : size < .0095 ? 4
			       : size < .0995 ? 3
			       : size < .995  ? 2
			       : size < 99.5  ? 1
					      : 0;
		if (size < .000095 || size >= 1e5)
			snprintf(out, FORMAT_SIZE, "%s%.0e", value < 0 ? "-" : sign, size);
		else
			snprintf(out, FORMAT_SIZE, "%s%.*f", value < 0 ? "-" : sign, decimals, size);
		char *exponent = strstr(out, "e-0");
		if (!exponent)
			exponent = strstr(out, "e+0");
		if (exponent) /* "2e-07" -> "2e-7" */
			memmove(exponent + 2, exponent + 3, strlen(exponent + 2));
		drop_zero(out);
	}
	return out;
}

const char *format_number(char out[FORMAT_SIZE], double value)
{
	return format(out, value, "");
}

const char *format_signed(char out[FORMAT_SIZE], double value)
{
	return format(out, value, "+");
}

const char *format_duration(char out[FORMAT_SIZE], double seconds)
{
	if (!(seconds >= 0) || seconds > 1e6)
		snprintf(out, FORMAT_SIZE, "·");
	else if (seconds < .9995)
		snprintf(out, FORMAT_SIZE, "%.0f ms", seconds * 1000);
	else if (seconds < 99.95)
		snprintf(out, FORMAT_SIZE, "%.1f s", seconds);
	else
		snprintf(out, FORMAT_SIZE, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
	return out;
}

const char *format_bytes(char out[FORMAT_SIZE], uint64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	int unit = 0;
	while (value >= 999.5 && unit < 4) {
		value /= 1000;
		unit++;
	}
	snprintf(out, FORMAT_SIZE, value < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}
